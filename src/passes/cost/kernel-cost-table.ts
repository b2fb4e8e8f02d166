import { createHash } from 'node:crypto';
import { arch, cpus } from 'node:os';
import { z } from 'zod';
import type { Runtime } from '../../runtime/session.ts';
import { convolutionBlock } from '../../training/blocked-convolutions.ts';
import { KERNEL_BENCHMARKS, KERNELS, measureBenchmarks } from './kernel-benchmarks.ts';

/**
 * Measured time of one kernel in float and in int8. `shape` says what was measured, by kernel: convolutions
 * `[outputChannels, reduction, outputPixels]` (reduction = input channels of a group * kernel size), products
 * `[columns, reduction, rows]`, the rest `[elements]`. `work` is multiply-accumulates or elements.
 * For boundaries of int8, which float does not need, `floatNs` is 0; where only float was measured, `int8Ns` is.
 */
export const KernelCostSchema = z.strictObject({
  kernel: z.enum(KERNELS),
  shape: z.array(z.number().int().positive()).min(1).max(3),
  work: z.number().positive(),
  floatNs: z.number().nonnegative(),
  int8Ns: z.number().nonnegative(),
});
export type KernelCost = z.infer<typeof KernelCostSchema>;

const TableFields = z.strictObject({
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  cpuKind: z.string().max(256),
  runtimeVersion: z.string().max(256),
  threads: z.number().int().positive(),
  /** Channels of a block in the layout of the fast float convolutions; 1 where there is none, absent: not known. */
  convolutionBlock: z.number().int().positive().max(1024).optional(),
  entries: z.array(KernelCostSchema).max(1000),
});
/**
 * Measured time of ONNX Runtime kernels in float and in int8, once per kind of CPU, kept in the store and named by hash
 * in the report: choices that rest on speed read it, never a stopwatch in the middle of a job.
 */
export type KernelCostTable = Readonly<z.infer<typeof TableFields>>;
/** Checks a stored table, its hash included. */
export const KernelCostTableSchema = TableFields.refine(
  (table) => table.hash === hashOfTable(table),
  'hash does not fit the table',
);

/** sha256 of the canonical JSON of the table without its hash. */
function hashOfTable(table: Omit<KernelCostTable, 'hash'>): string {
  const { cpuKind, runtimeVersion, threads, convolutionBlock, entries } = table;
  const block = convolutionBlock === undefined ? [] : [convolutionBlock];
  const rows = entries.map(({ kernel, shape, work, floatNs, int8Ns }) => [kernel, shape, work, floatNs, int8Ns]);
  return createHash('sha256')
    .update(JSON.stringify([cpuKind, runtimeVersion, threads, ...block, rows]))
    .digest('hex');
}

/** A table from its parts, with its hash. */
export function makeCostTable(parts: Omit<KernelCostTable, 'hash'>): KernelCostTable {
  return { ...parts, hash: hashOfTable(parts) };
}

/** A table that knows nothing: every region counts as worth quantizing, and every channel as worth removing. */
export function emptyCostTable(): KernelCostTable {
  return makeCostTable({ cpuKind: 'unknown', runtimeVersion: 'none', threads: 1, entries: [] });
}

/**
 * Measures this machine: each kernel in a chain, float and int8 in turns, medians, idle threads not spinning. Takes a few
 * seconds; call it once per kind of CPU and number of threads.
 */
export async function measureKernelCosts(
  runtime: Runtime,
  options: { readonly threads: number },
): Promise<KernelCostTable> {
  const entries = await measureBenchmarks(runtime, KERNEL_BENCHMARKS, options.threads);
  return makeCostTable({
    cpuKind: `${arch()} ${cpus()[0]?.model ?? 'unknown'}`.slice(0, 256),
    runtimeVersion: runtime.version,
    threads: options.threads,
    convolutionBlock: await convolutionBlock(runtime),
    entries,
  });
}
