import { emptyCostTable, type KernelCostTable } from '../../src/passes/cost/kernel-cost-table.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { cpuKindId } from '../../workers/cost-tables.ts';

/**
 * Saves a worker the seconds, on a busy machine minutes, of measuring its kernels: puts a table for this CPU. One that has no
 * entries leaves nothing in float for speed's sake.
 */
export async function putKnownKernelCosts(
  store: ObjectStore,
  threads: readonly number[] = [1, 2],
  table: KernelCostTable = emptyCostTable(),
): Promise<void> {
  const body = Buffer.from(JSON.stringify(table));
  for (const count of threads) await store.put(`cost-tables/kind/${cpuKindId(count)}.json`, body);
}
