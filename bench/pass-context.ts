import { tmpdir } from 'node:os';
import { emptyCostTable } from '../src/passes/cost/kernel-cost-table.ts';
import { NO_CHECKPOINT, type PassContext } from '../src/passes/pass.ts';
import { createRuntime } from '../src/runtime/onnxruntime.ts';

/** What a pass is run with in a benchmark: one thread, seed 0, target `portable`, no data, nothing known of kernel times. */
export function passContext(given: Partial<PassContext> = {}): PassContext {
  return {
    runtime: given.runtime ?? createRuntime(tmpdir()),
    threads: 1,
    seed: 0,
    targetCpu: 'portable',
    cpuFlags: new Set(),
    checkpoint: NO_CHECKPOINT,
    data: {},
    costTable: emptyCostTable(),
    signal: new AbortController().signal,
    progress: () => undefined,
    log: () => undefined,
    ...given,
  };
}
