import { tmpdir } from 'node:os';

/** What a data set may cost before it is refused. The caller's own maximum for uploads bounds the file; these bound what is inside. */
export interface DataLimits {
  /** Bytes of all members of an archive together, decompressed. */
  readonly maxBytes: number;
  readonly maxEntries: number;
  /** Decompressed over compressed, judged once an archive decompresses to more than `RATIO_FREE_BYTES`. */
  readonly maxRatio: number;
  /** Pixels of one image. */
  readonly maxImagePixels: number;
  /** Bytes of one encoded image. */
  readonly maxImageBytes: number;
  /** Bytes of decompressed arrays that a data set may keep between passes; what needs more is streamed anew each pass. */
  readonly memoryBudgetBytes: number;
  /** Where a compressed tar is unpacked to an unnamed file. */
  readonly scratchFolder: string;
}

/** Legitimate arrays of zeros compress a thousandfold; small ones do no harm. */
export const RATIO_FREE_BYTES = 64 * 2 ** 20;

export const DEFAULT_DATA_LIMITS: DataLimits = {
  maxBytes: 64 * 2 ** 30,
  maxEntries: 500_000,
  maxRatio: 200,
  maxImagePixels: 50_000_000,
  maxImageBytes: 64 * 2 ** 20,
  memoryBudgetBytes: 256 * 2 ** 20,
  scratchFolder: tmpdir(),
};
