import { readFileSync } from 'node:fs';
import os from 'node:os';
import type { Environment } from '../schemas/report.ts';

/** Instruction sets that decide how fast, and how exactly, int8 and half-float kernels run. */
const FLAGS_THAT_MATTER = [
  'sse4_1',
  'avx',
  'avx2',
  'fma',
  'f16c',
  'avx512f',
  'avx512bw',
  'avx512vl',
  'avx512_vnni',
  'avx_vnni',
  'avx512_bf16',
  'avx512_fp16',
  'amx_int8',
  'amx_bf16',
  'asimd',
  'asimddp',
  'asimdhp',
  'i8mm',
  'bf16',
  'sve',
  'sve2',
] as const;

/**
 * Where and with what the numbers of a report were measured.
 *
 * @param facts.cpuinfo - text of /proc/cpuinfo; by default it is read, and flags stay empty where there is none
 */
export function describeEnvironment(facts: {
  readonly tersor: string;
  readonly runtime: string;
  readonly threads: number;
  readonly seed: number;
  readonly costTable?: string;
  readonly cpuinfo?: string;
}): Environment {
  const cpus = os.cpus();
  const cpuinfo = facts.cpuinfo ?? readCpuinfo();
  return {
    tersor: facts.tersor,
    node: process.version,
    runtime: facts.runtime,
    platform: `${os.type()} ${os.release()}`,
    architecture: process.arch,
    cpuModel: cpus[0]?.model.trim() ?? 'unknown',
    cpuFlags: cpuFlags(cpuinfo),
    cpuCores: cpus.length,
    memoryBytes: os.totalmem(),
    threads: facts.threads,
    seed: facts.seed,
    ...(facts.costTable === undefined ? {} : { costTable: facts.costTable }),
  };
}

function readCpuinfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    // Only Linux has it; elsewhere the CPU model must do.
    return '';
  }
}

/** The flags of the first CPU in /proc/cpuinfo (`flags` on x64, `Features` on arm64) that matter here, in our order. */
export function cpuFlags(cpuinfo: string): string[] {
  const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? '';
  const present = new Set(line.split(/\s+/));
  return FLAGS_THAT_MATTER.filter((flag) => present.has(flag));
}

/** Whether the CPU multiplies 8-bit integers without the int16 saturation of VPMADDUBSW; undefined when not known. */
export function hasExactInt8(environment: Pick<Environment, 'architecture' | 'cpuFlags'>): boolean | undefined {
  if (environment.cpuFlags.length === 0) return undefined;
  if (environment.architecture !== 'x64') return true;
  return environment.cpuFlags.some((flag) => flag === 'avx512_vnni' || flag === 'avx_vnni' || flag === 'amx_int8');
}
