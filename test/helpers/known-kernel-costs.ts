import { emptyCostTable } from '../../src/passes/cost/kernel-cost-table.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { cpuKindId } from '../../workers/cost-tables.ts';

/**
 * Saves a worker the seconds, on a busy machine minutes, of measuring its kernels: puts a table for this CPU that has no
 * entries, so that nothing is left in float for speed's sake.
 */
export async function putKnownKernelCosts(store: ObjectStore, threads: readonly number[] = [1, 2]): Promise<void> {
  const body = Buffer.from(JSON.stringify(emptyCostTable()));
  for (const count of threads) await store.put(`cost-tables/kind/${cpuKindId(count)}.json`, body);
}
