/**
 * Measured time of ONNX Runtime kernels in float and in int8, once per kind of CPU, kept in the store and named by hash
 * in the report: choices that rest on speed read it, never a stopwatch in the middle of a job.
 */
export interface KernelCostTable {
  /** sha256 of the canonical JSON of the rest. */
  readonly hash: string;
  readonly cpuKind: string;
  readonly runtimeVersion: string;
  readonly entries: readonly KernelCost[];
}

export interface KernelCost {
  readonly kernel: string;
  /** Multiply-accumulates or elements of the measured shape. */
  readonly work: number;
  readonly floatNs: number;
  readonly int8Ns: number;
}
