import type { PassContext, TargetCpu } from '../pass.ts';
import type { WeightRange } from './weights.ts';

/** What a target's integer kernels ask of int8 weights, and why: part of the step report. */
export interface TargetRules {
  readonly weightRange: WeightRange;
  readonly explanation: string;
}

const PAIR_SAFE =
  'x64 CPUs without VNNI add two products uint8 * int8 in int16, saturating. The scale of each channel is chosen so that ' +
  'no two of its weights of equal sign add up to more than 128 codes: 255 * 128 = 32640 <= 32767, so no pair can ' +
  'saturate, whichever two weights the kernel adds.';

/** The rules for the CPU a job's result is meant for. */
export function targetRules(context: Pick<PassContext, 'targetCpu' | 'cpuFlags'>): TargetRules {
  const target: TargetCpu = context.targetCpu;
  switch (target) {
    case 'portable':
      return { weightRange: 'pair-safe', explanation: `Runs exactly on every CPU. ${PAIR_SAFE}` };
    case 'x64-vnni':
      return { weightRange: 'full', explanation: 'VNNI accumulates byte products in int32: all codes are used.' };
    case 'arm64-dotprod':
      return { weightRange: 'full', explanation: 'SDOT/UDOT accumulate byte products in int32: all codes are used.' };
    case 'int8-only':
      return { weightRange: 'full', explanation: 'An integer accelerator accumulates in int32: all codes are used.' };
    case 'this':
      return thisCpu(context.cpuFlags);
  }
}

function thisCpu(flags: ReadonlySet<string>): TargetRules {
  if (flags.has('avx512_vnni') || flags.has('avx_vnni') || flags.has('avxvnniint8')) {
    return { weightRange: 'full', explanation: 'This CPU has VNNI, which accumulates in int32: all codes are used.' };
  }
  if (flags.has('asimddp')) {
    return { weightRange: 'full', explanation: 'This CPU has dot-product instructions: all codes are used.' };
  }
  return { weightRange: 'pair-safe', explanation: `This CPU has neither VNNI nor dot products. ${PAIR_SAFE}` };
}

/** Whether a result computes exactly on each kind of CPU, for the report. */
export interface SaturationRisk {
  readonly 'x64-vnni': 'none';
  readonly 'x64-without-vnni': 'none' | 'possible';
  readonly 'arm64-dotprod': 'none';
  /** Nodes with a channel in which two weights could saturate int16 beside activations of 255. */
  readonly nodes: readonly string[];
}

export function saturationRisk(nodes: readonly string[]): SaturationRisk {
  return {
    'x64-vnni': 'none',
    'x64-without-vnni': nodes.length === 0 ? 'none' : 'possible',
    'arm64-dotprod': 'none',
    nodes,
  };
}
