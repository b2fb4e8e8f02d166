import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type BigIntStats } from 'node:fs';
import { join } from 'node:path';
import { CompressionError, messageOf } from '../../errors.ts';
import type { ExternalFile } from '../tensor.ts';
import type { ExternalResolver } from './decode-tensor.ts';
import { locationProblem } from './external-data.ts';

/**
 * Resolves external data locations to files below a folder.
 *
 * @param allowed - the only locations that are accepted (the uploaded names); any plain path when absent
 * @returns a resolver; it throws MODEL_EXTERNAL_DATA, without opening anything, for a location that is not allowed,
 *   leaves the folder, or is not a plain file (symbolic link on the way, hard link, device, pipe, folder)
 */
export function folderFiles(folder: string, allowed?: Iterable<string>): ExternalResolver {
  const names = allowed === undefined ? undefined : new Set(allowed);
  const files = new Map<string, ExternalFile>();
  return (location) => {
    const problem = locationProblem(location);
    if (problem !== undefined) throw refused(location, problem);
    if (names !== undefined && !names.has(location)) {
      throw refused(location, `was not uploaded with the model (uploaded: ${[...names].join(', ') || 'none'})`);
    }
    let file = files.get(location);
    if (file === undefined) {
      file = openLater(folder, location);
      files.set(location, file);
    }
    return file;
  };
}

function openLater(folder: string, location: string): ExternalFile {
  return rememberedFile(location, join(folder, location), inspect(folder, location));
}

/**
 * A file of our own making or choosing under another name than models know it by. It must not change while it is in use.
 *
 * @param location - what messages and models call it
 */
export function externalFileAt(location: string, path: string): ExternalFile {
  return rememberedFile(location, path, lstatSync(path, { bigint: true }));
}

/** Remembers which file it is; each read opens it, makes sure it is still the same, and closes it. */
function rememberedFile(location: string, path: string, known: BigIntStats): ExternalFile {
  const opened = (use: (descriptor: number) => void): void => {
    const descriptor = open(path, location);
    try {
      const now = fstatSync(descriptor, { bigint: true });
      if (now.dev !== known.dev || now.ino !== known.ino || now.size !== known.size || now.mtimeNs !== known.mtimeNs) {
        throw refused(location, 'has changed since the model was loaded');
      }
      use(descriptor);
    } finally {
      closeSync(descriptor);
    }
  };
  return {
    location,
    byteLength: Number(known.size),
    read(offset, length) {
      const bytes = newBytes(length, location);
      opened((descriptor) => readFully(descriptor, bytes, offset, location));
      return bytes;
    },
    readInto(target, offset, piece = { length: target.byteLength, stride: 0 }) {
      opened((descriptor) => {
        for (let at = 0, from = offset; at < target.byteLength; at += piece.length, from += piece.stride) {
          readFully(descriptor, target.subarray(at, at + piece.length), from, location);
        }
      });
    },
  };
}

function inspect(folder: string, location: string): BigIntStats {
  const parts = location.split('/').filter((part) => part !== '.');
  let path = folder;
  let stats: BigIntStats | undefined;
  for (const [index, part] of parts.entries()) {
    path = join(path, part);
    stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    if (stats === undefined) throw refused(location, 'does not exist beside the model; upload it with the model');
    if (stats.isSymbolicLink()) throw refused(location, 'is or passes through a symbolic link');
    if (index < parts.length - 1 && !stats.isDirectory()) throw refused(location, 'passes through a file');
  }
  if (stats === undefined) throw refused(location, 'is empty');
  if (!stats.isFile()) throw refused(location, 'is not a regular file');
  if (stats.nlink > 1n) throw refused(location, 'is a hard link to a file that is also known under another name');
  return stats;
}

function open(path: string, location: string): number {
  try {
    // O_NONBLOCK: should the file have become a pipe since, opening it must not wait for a writer.
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw refused(location, `cannot be opened: ${messageOf(error)}`, error);
  }
}

function readFully(descriptor: number, bytes: Uint8Array, offset: number, location: string): void {
  // One read call moves at most 2^31 - 1 bytes.
  const step = 2 ** 30;
  for (let done = 0; done < bytes.byteLength;) {
    const got = readSync(descriptor, bytes, done, Math.min(step, bytes.byteLength - done), offset + done);
    if (got === 0) throw refused(location, `ends before byte ${offset + bytes.byteLength}`);
    done += got;
  }
}

function newBytes(length: number, location: string): Uint8Array {
  try {
    return new Uint8Array(length);
  } catch (error) {
    const message = `external data "${location}": ${length} bytes do not fit into memory at once`;
    throw new CompressionError('LIMIT_MEMORY', message, { cause: error });
  }
}

function refused(location: string, detail: string, cause?: unknown): CompressionError {
  const shown = JSON.stringify(location.length > 200 ? `${location.slice(0, 200)}…` : location);
  return new CompressionError('MODEL_EXTERNAL_DATA', `external data file ${shown} ${detail}`, { cause });
}
