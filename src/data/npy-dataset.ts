import { crc32 } from 'node:zlib';
import { CompressionError } from '../errors.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import { ByteReader } from './byte-reader.ts';
import type { Batch, BatchOptions, Dataset, DatasetAccess, DatasetInfo } from './dataset.ts';
import type { DataLimits } from './limits.ts';
import { MemoryBudget, NpyArray, type NpyBytes, type RowCursor } from './npy-array.ts';
import {
  NPY_MAX_HEADER_BYTES,
  NPY_PREFIX_BYTES,
  npyHeaderLength,
  parseNpyHeader,
  type NpyHeader,
} from './npy-header.ts';
import type { RandomAccessFile } from './random-access-file.ts';
import { sampleWindow } from './sample-window.ts';
import { checkMember, type ZipArchive, type ZipMember } from './zip-archive.ts';

const NPY_SUFFIX = '.npy';

/** A bare .npy file: one array, called `data`. */
export async function openNpy(file: RandomAccessFile, limits: DataLimits): Promise<Dataset> {
  const prefix = await file.read(0, NPY_PREFIX_BYTES + NPY_MAX_HEADER_BYTES);
  const header = parseNpyHeader(prefix, 'The file');
  checkSize(header, file.size - header.headerBytes, 'The file', limits);
  const open = (): Promise<ByteReader> => Promise.resolve(new ByteReader(file.stream(header.headerBytes, file.size)));
  const bytes: NpyBytes = {
    open,
    readAt: (target, position) => file.readInto(target, header.headerBytes + position),
    finish: () => Promise.resolve(),
    checksum: undefined,
  };
  const array = new NpyArray('data', header, bytes, new MemoryBudget(limits.memoryBudgetBytes));
  return new NpyDataset('npy', [array], file);
}

/** A .npz archive: each member `name.npy` is the array `name`. Only the headers are read here. */
export async function openNpz(archive: ZipArchive, file: RandomAccessFile, limits: DataLimits): Promise<Dataset> {
  const budget = new MemoryBudget(limits.memoryBudgetBytes);
  const arrays: NpyArray[] = [];
  for (const member of archive.members) {
    const name = member.name.slice(0, -NPY_SUFFIX.length);
    const { header, crc } = await readMemberHeader(archive, member);
    checkSize(header, member.bytes - header.headerBytes, `Array ${name}`, limits);
    arrays.push(new NpyArray(name, header, memberBytes(archive, file, member, { header, crc }), budget));
  }
  return new NpyDataset('npz', arrays, file);
}

export function isNpyMember(member: ZipMember): boolean {
  return member.name.endsWith(NPY_SUFFIX);
}

async function readMemberHeader(archive: ZipArchive, member: ZipMember): Promise<{ header: NpyHeader; crc: number }> {
  const where = `Zip member ${member.name}`;
  const reader = new ByteReader(archive.stream(member));
  try {
    const prefix = new Uint8Array(NPY_PREFIX_BYTES);
    const got = await reader.readInto(prefix);
    const whole = new Uint8Array(npyHeaderLength(prefix.subarray(0, got), where));
    whole.set(prefix.subarray(0, whole.length));
    const rest = whole.subarray(Math.min(NPY_PREFIX_BYTES, whole.length));
    if ((await reader.readInto(rest)) < rest.length) {
      throw new CompressionError('DATASET_PARSE', `${where}: the .npy header is cut short`);
    }
    return { header: parseNpyHeader(whole, where), crc: crc32(whole) };
  } finally {
    await reader.close();
  }
}

function memberBytes(
  archive: ZipArchive,
  file: RandomAccessFile,
  member: ZipMember,
  { header, crc }: { readonly header: NpyHeader; readonly crc: number },
): NpyBytes {
  const dataOffset = member.dataOffset + header.headerBytes;
  return {
    readAt: member.stored ? (target, position) => file.readInto(target, dataOffset + position) : undefined,
    async open() {
      const reader = new ByteReader(archive.stream(member));
      await reader.skip(header.headerBytes);
      return reader;
    },
    async finish(reader) {
      const more = !(await reader.atEnd());
      checkMember(member, reader.position + (more ? 1 : 0), reader.crc);
    },
    checksum: { before: crc, check: (all) => checkMember(member, member.bytes, all) },
  };
}

/** Before anything is allocated: the bytes that are there must be the bytes that the shape needs. */
function checkSize(header: NpyHeader, available: number, where: string, limits: DataLimits): void {
  if (header.dataBytes > limits.maxBytes) {
    throw new CompressionError(
      'DATASET_LIMIT',
      `${where} needs ${header.dataBytes} bytes for its shape, at most ${limits.maxBytes} are read`,
    );
  }
  if (header.dataBytes !== available) {
    throw new CompressionError(
      'DATASET_PARSE',
      `${where}: shape (${header.shape.join(', ')}) of ${header.type} needs ${header.dataBytes} bytes, there are ${available}; upload it again`,
    );
  }
}

class NpyDataset implements Dataset {
  readonly info: DatasetInfo;
  readonly access?: DatasetAccess;
  readonly #arrays: ReadonlyMap<string, NpyArray>;
  readonly #file: RandomAccessFile;

  constructor(kind: 'npz' | 'npy', arrays: readonly NpyArray[], file: RandomAccessFile) {
    this.#file = file;
    this.#arrays = new Map(arrays.map((array) => [array.name, array]));
    if (arrays.some((array) => !array.byPosition)) this.access = 'sequential';
    const samples = arrays.reduce((most, array) => Math.max(most, array.rows), 0);
    if (samples === 0) {
      throw new CompressionError(
        'DATASET_EMPTY',
        'The data set holds no samples: no array has a first axis longer than 0',
      );
    }
    this.info = {
      kind,
      samples,
      arrays: arrays.map(({ name, header }) => ({ name, type: header.type, shape: header.shape })),
    };
  }

  async *batches(options: BatchOptions): AsyncGenerator<Batch> {
    const arrays = this.#chosen(options.names);
    const rows = arrays[0]?.rows ?? 0;
    const { from, to } = sampleWindow(options, rows);
    const cursors: RowCursor[] = [];
    try {
      for (const array of arrays) cursors.push(await array.cursor(from, to));
      for (let at = from; at < to; at += options.batchSize) {
        const count = Math.min(options.batchSize, to - at);
        const entries: [string, NdArray][] = [];
        for (const [i, cursor] of cursors.entries()) entries.push([arrays[i]?.name ?? '', await cursor.next(count)]);
        yield { from: at, count, arrays: Object.fromEntries(entries) };
      }
    } finally {
      await Promise.all(cursors.map((cursor) => cursor.close()));
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** Without names: all arrays that have a row per sample. */
  #chosen(names: readonly string[] | undefined): NpyArray[] {
    if (names === undefined) return [...this.#arrays.values()].filter((array) => array.rows === this.info.samples);
    const arrays = names.map((name) => {
      const array = this.#arrays.get(name);
      if (array !== undefined) return array;
      throw new CompressionError(
        'DATASET_SHAPE',
        `The data set has no array ${name}; it has ${[...this.#arrays.keys()].join(', ')}`,
      );
    });
    const [first] = arrays;
    const other = arrays.find((array) => array.rows !== first?.rows);
    if (first !== undefined && other !== undefined) {
      throw new CompressionError(
        'DATASET_SHAPE',
        `Arrays ${first.name} (${first.header.shape.join(', ')}) and ${other.name} (${other.header.shape.join(', ')}) have different numbers of samples; name arrays that belong together`,
      );
    }
    return arrays;
  }
}
