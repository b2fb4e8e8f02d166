import { randomUUID } from 'node:crypto';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { CompressionError, messageOf } from '../../errors.ts';
import { RandomAccessFile } from '../random-access-file.ts';
import { runsOf, type RowReader, type Rows } from './rows.ts';

/**
 * Copies samples from `from` on, which come front to back, to a file without a name, where they can be read in any
 * order: for compressed arrays, which would have to be decompressed from the front for each block. The file takes the
 * samples' bytes on disk until `close`.
 *
 * @param count - samples that `chunks` gives
 * @throws CompressionError DISK_FULL, and what reading the data set throws
 */
export async function spoolRows(
  chunks: AsyncIterable<Rows>,
  layout: Rows,
  { from, count, folder }: { readonly from: number; readonly count: number; readonly folder: string },
): Promise<RowReader> {
  const path = join(folder, `tersor-${randomUUID()}`);
  const file = await open(path, 'wx+', 0o600);
  try {
    await unlink(path);
    const offsets = columnOffsets(layout, count);
    let row = 0;
    for await (const chunk of chunks) {
      for (const [i, column] of chunk.columns.entries()) {
        await writeAll(file, column.bytes, (offsets[i] ?? 0) + row * column.rowBytes);
      }
      row += chunk.count;
    }
    return new SpooledRows(await RandomAccessFile.of(file), from, offsets);
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
}

/** Each column lies in one piece, so that neighbouring samples are one read a column. */
function columnOffsets(layout: Rows, count: number): number[] {
  let end = 0;
  return layout.columns.map(({ rowBytes }) => {
    const offset = end;
    end += rowBytes * count;
    return offset;
  });
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  try {
    for (let done = 0; done < bytes.length;) {
      done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOSPC' && code !== 'EDQUOT' && code !== 'EFBIG') throw error;
    throw new CompressionError(
      'DISK_FULL',
      `Compressed data of training are unpacked to a scratch file, which could not grow past ${position} bytes (${messageOf(error)}); save them uncompressed (numpy.savez), or give the worker more disk`,
      { cause: error },
    );
  }
}

class SpooledRows implements RowReader {
  readonly #file: RandomAccessFile;
  readonly #from: number;
  readonly #offsets: readonly number[];

  constructor(file: RandomAccessFile, from: number, offsets: readonly number[]) {
    this.#file = file;
    this.#from = from;
    this.#offsets = offsets;
  }

  async read(samples: Uint32Array, into: Rows, at: number): Promise<void> {
    for (const run of runsOf(samples)) {
      for (const [i, { bytes, rowBytes }] of into.columns.entries()) {
        const start = (at + run.at) * rowBytes;
        const position = (this.#offsets[i] ?? 0) + (run.from - this.#from) * rowBytes;
        await this.#file.readInto(bytes.subarray(start, start + run.count * rowBytes), position);
      }
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
