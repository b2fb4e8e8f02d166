import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CompressionError } from '../../errors.ts';
import type { Model } from '../model.ts';
import { decodeModel, type DecodeOptions } from './decode.ts';
import { folderFiles } from './external-file.ts';
import { DEFAULT_DECODE_LIMITS } from './limits.ts';

export interface LoadOptions extends DecodeOptions {
  /** The only external data locations that are accepted; any file beside the model when absent. */
  readonly allowedExternal?: Iterable<string>;
}

/**
 * Reads a model file; external data is taken from the files beside it, and read only when somebody asks for it.
 * @throws CompressionError as `decodeModel`; the file system's error when the model file itself cannot be read
 */
export async function loadModel(path: string, options: LoadOptions = {}): Promise<Model> {
  const bytes = await readWhole(path, options.limits?.bytes ?? DEFAULT_DECODE_LIMITS.bytes);
  const external = options.external ?? folderFiles(dirname(path), options.allowedExternal);
  return decodeModel(bytes, { ...options, external });
}

/** Not fs.readFile: it reserves twice the size for a moment and stops at 2 GiB on Node 20. */
async function readWhole(path: string, limitBytes: number): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    if (size > limitBytes) {
      throw new CompressionError(
        'LIMIT_SIZE',
        `the model file has ${size} bytes, the limit is ${limitBytes}; move its weights to external data`,
      );
    }
    const bytes = new Uint8Array(size);
    for (let done = 0; done < size;) {
      const { bytesRead } = await file.read(bytes, done, Math.min(2 ** 30, size - done), done);
      if (bytesRead === 0)
        throw new CompressionError('MODEL_PARSE', `the model file ended after ${done} of ${size} bytes`);
      done += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}
