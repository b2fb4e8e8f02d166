import { CompressionError } from '../errors.ts';

/** One image of a data set: where it lies and what it shows. */
export interface LabelledImage<Member> {
  readonly member: Member;
  readonly label: number;
}

export interface ImageFolders<Member> {
  /** Folder names, sorted by their bytes. */
  readonly classes: readonly string[];
  readonly images: readonly LabelledImage<Member>[];
  readonly ignoredEntries: number;
}

const IMAGE_NAME = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i;
const JUNK = /(^|\/)(__MACOSX\/|\.|Thumbs\.db$|desktop\.ini$)/i;

/**
 * Sorts an archive's files into classes: the folder that an image lies in is its class, the label the folder's place in
 * byte order. The images come one of each class in turn (each class in byte order of its names), so that the first so
 * many samples of a set are a fair part of it.
 * @throws CompressionError DATASET_PARSE when folders do not tell the class, DATASET_EMPTY without images
 */
export function sortIntoClasses<Member extends { readonly name: string }>(
  members: readonly Member[],
): ImageFolders<Member> {
  const folders = new Map<string, Member[]>();
  let ignoredEntries = 0;
  for (const member of members) {
    const name = member.name.replace(/^(\.\/)+/, '');
    if (JUNK.test(name) || !IMAGE_NAME.test(name)) {
      ignoredEntries += 1;
      continue;
    }
    const slash = name.lastIndexOf('/');
    if (slash < 0) {
      throw new CompressionError(
        'DATASET_PARSE',
        `Image ${name} lies in no folder; each class needs a folder of its own, named after it`,
      );
    }
    const folder = name.slice(0, slash);
    const list = folders.get(folder);
    if (list === undefined) folders.set(folder, [member]);
    else list.push(member);
  }
  if (folders.size === 0)
    throw new CompressionError(
      'DATASET_EMPTY',
      'The archive holds no images (JPEG, PNG, WebP, GIF, TIFF, AVIF) in folders',
    );
  const byClass = classFolders([...folders.keys()]);
  const classes = [...byClass.keys()].sort(byBytes);
  const lists = classes.map((name) =>
    (folders.get(byClass.get(name) ?? '') ?? []).sort((a, b) => byBytes(a.name, b.name)),
  );
  return { classes, images: interleave(lists), ignoredEntries };
}

function classFolders(folders: readonly string[]): Map<string, string> {
  const byClass = new Map<string, string>();
  const depth = (folder: string): number => folder.split('/').length;
  const [first = ''] = folders;
  for (const folder of folders) {
    if (depth(folder) !== depth(first)) {
      throw new CompressionError(
        'DATASET_PARSE',
        `Images lie in ${first}/ and in ${folder}/, at different depths; put each class in one folder, all at one depth`,
      );
    }
    const name = folder.slice(folder.lastIndexOf('/') + 1);
    const other = byClass.get(name);
    if (other !== undefined) {
      throw new CompressionError(
        'DATASET_PARSE',
        `Class ${name} has two folders, ${other}/ and ${folder}/; upload each part (training, test) as a data set of its own`,
      );
    }
    byClass.set(name, folder);
  }
  return byClass;
}

function interleave<Member>(lists: readonly (readonly Member[])[]): LabelledImage<Member>[] {
  const images: LabelledImage<Member>[] = [];
  const longest = lists.reduce((most, list) => Math.max(most, list.length), 0);
  for (let i = 0; i < longest; i += 1) {
    for (const [label, list] of lists.entries()) {
      const member = list[i];
      if (member !== undefined) images.push({ member, label });
    }
  }
  return images;
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
