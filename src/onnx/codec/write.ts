import { createHash } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CompressionError } from '../../errors.ts';
import type { Model } from '../model.ts';
import { modelRope, type PlaceTensor } from './encode.ts';
import { locationProblem } from './external-data.ts';
import { MAX_PROTOBUF_BYTES } from './limits.ts';
import { Rope, chunksOf, tensorPiece } from './rope.ts';

export interface ExternalDataOptions {
  /** File name of the data file, beside the model. */
  readonly location: string;
  /** Initializers from this size on go into the data file. */
  readonly thresholdBytes: number;
  /** Each tensor starts at a multiple of this; 4096 can be mapped on Linux, 65536 on Windows too. Default 4096. */
  readonly alignment?: 4096 | 65536;
}

export interface WriteOptions {
  /** Without it everything goes into one file, unless that would pass 2 GiB. */
  readonly externalData?: ExternalDataOptions;
}

export interface WrittenFile {
  readonly path: string;
  readonly bytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

export interface WrittenModel {
  /** The model first, then its data file where there is one. */
  readonly files: readonly WrittenFile[];
}

/**
 * Writes the model in constant memory: tensors go from their view or their external file to the disk. A model that
 * would pass 2^31 - 1 bytes gets a data file `<name>.data`. Files appear under their names only when complete, so a model
 * may be written over the files it was loaded from (its own external tensors cannot be read afterwards: load it again).
 * Same model and options, same bytes.
 *
 * @throws CompressionError LIMIT_SIZE when the protobuf is too large even so; MODEL_EXTERNAL_DATA for a bad location;
 *   DISK_FULL when the disk is full
 */
export async function writeModel(model: Model, path: string, options: WriteOptions = {}): Promise<WrittenModel> {
  let layout = options.externalData && new DataLayout(options.externalData, basename(path));
  let rope = modelRope(model, layout?.place);
  if (rope.byteLength > MAX_PROTOBUF_BYTES && layout === undefined) {
    layout = new DataLayout({ location: `${basename(path)}.data`, thresholdBytes: 1024 }, basename(path));
    rope = modelRope(model, layout.place);
  }
  if (rope.byteLength > MAX_PROTOBUF_BYTES) {
    throw new CompressionError(
      'LIMIT_SIZE',
      `without its external data the model still takes ${rope.byteLength} bytes, a protobuf at most ${MAX_PROTOBUF_BYTES}`,
    );
  }
  const outputs = [{ path, rope }];
  if (layout !== undefined && layout.rope.byteLength > 0) {
    outputs.push({ path: join(dirname(path), layout.location), rope: layout.rope });
  }
  const files: WrittenFile[] = [];
  try {
    for (const output of outputs) files.push(await writeRope(output.rope, output.path));
    // The model last: when it is there, its data is there.
    for (const output of [...outputs].reverse()) await rename(partial(output.path), output.path);
  } catch (error) {
    for (const output of outputs) await rm(partial(output.path), { force: true });
    if (isDiskFull(error)) throw new CompressionError('DISK_FULL', `no space left to write ${path}`, { cause: error });
    throw error;
  }
  return { files };
}

const ZEROS = new Uint8Array(65536);

/** Hands out offsets in one data file, in the order the tensors come. */
class DataLayout {
  readonly rope = new Rope();
  readonly location: string;
  readonly #thresholdBytes: number;
  readonly #alignment: number;

  constructor(options: ExternalDataOptions, modelName: string) {
    const plainName = !options.location.includes('/') && options.location !== modelName;
    const problem = plainName ? locationProblem(options.location) : "must be a file name other than the model's";
    if (problem !== undefined) {
      throw new CompressionError(
        'MODEL_EXTERNAL_DATA',
        `data file name ${JSON.stringify(options.location)} ${problem}`,
      );
    }
    this.location = options.location;
    this.#thresholdBytes = Math.max(1, options.thresholdBytes);
    this.#alignment = options.alignment ?? 4096;
  }

  readonly place: PlaceTensor = (tensor) => {
    if (tensor.storage.kind === 'strings' || tensor.byteLength < this.#thresholdBytes) return undefined;
    const padding = (this.#alignment - (this.rope.byteLength % this.#alignment)) % this.#alignment;
    this.rope.add(ZEROS.subarray(0, padding));
    const offset = this.rope.byteLength;
    this.rope.add(tensorPiece(tensor));
    return { location: this.location, offset };
  };
}

function partial(path: string): string {
  return `${path}.partial`;
}

/** Pieces below this are gathered in one buffer, larger ones are written from where they lie. */
const GATHER_BYTES = 2 ** 20;

async function writeRope(rope: Rope, path: string): Promise<WrittenFile> {
  const hash = createHash('sha256');
  const file = await open(partial(path), 'w');
  try {
    const buffer = new Uint8Array(GATHER_BYTES);
    let filled = 0;
    // The hash is computed here while the system writes the same bytes.
    const write = async (bytes: Uint8Array): Promise<void> => {
      const written = writeFully(file, bytes);
      hash.update(bytes);
      await written;
    };
    const flush = async (): Promise<void> => {
      if (filled > 0) await write(buffer.subarray(0, filled));
      filled = 0;
    };
    for (const piece of rope.pieces) {
      for (const chunk of chunksOf(piece)) {
        if (filled + chunk.byteLength > GATHER_BYTES) await flush();
        if (chunk.byteLength > GATHER_BYTES / 2) {
          await flush();
          await write(chunk);
        } else {
          buffer.set(chunk, filled);
          filled += chunk.byteLength;
        }
      }
    }
    await flush();
  } finally {
    await file.close();
  }
  return { path, bytes: rope.byteLength, sha256: hash.digest('hex') };
}

async function writeFully(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    done += (await file.write(bytes, done, bytes.byteLength - done)).bytesWritten;
  }
}

function isDiskFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}
