import { z } from 'zod';
import type { Model } from '../onnx/model.ts';
import type { Feature, NetworkBuilder } from './network-builder.ts';
import { seededWeights, zeroWeights, type WeightSource } from './weights.ts';

export interface BuildSettings {
  /** 0 to 2^53 - 1: the same seed gives the same bytes. */
  readonly seed: number;
  /** `zero` makes the same network without drawing numbers, for shapes and counts. Default `random`. */
  readonly weights?: 'random' | 'zero';
}

export interface ArchitecturePaper {
  readonly title: string;
  readonly url: string;
}

/** A configuration whose counts are published, for docs and tests. */
export interface ReferenceConfiguration {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/** One family of networks, as a value in the table of architectures.ts. */
export interface Architecture<Options = unknown> {
  readonly name: string;
  readonly description: string;
  readonly papers: readonly ArchitecturePaper[];
  /** Strict object schema with a default and a description for each option. */
  readonly options: z.ZodType<Options>;
  readonly example: z.input<z.ZodType<Options>>;
  readonly references: readonly ReferenceConfiguration[];
  /** A verified-by-test model: input `input` [batch, channels, height, width], output `logits` [batch, classes]. */
  build(options: Options, settings: BuildSettings): Model;
}

/** Keeps the options' type while an architecture is written; the table holds them as `Architecture`. */
export function defineArchitecture<Schema extends z.ZodObject>(
  architecture: Omit<Architecture<z.output<Schema>>, 'options' | 'example' | 'build'> & {
    readonly options: Schema;
    readonly example: z.input<Schema>;
    readonly build: (options: z.output<Schema>, weights: WeightSource) => Model;
  },
): Architecture {
  const { build, ...rest } = architecture;
  return {
    ...rest,
    build: (options, { seed, weights = 'random' }) =>
      build(architecture.options.parse(options), weights === 'zero' ? zeroWeights() : seededWeights(seed)),
  };
}

const side = z.number().int().min(4).max(4096);

/** What every architecture takes. */
export const commonOptions = {
  classes: z.number().int().min(1).max(1_000_000).default(10).describe('Number of logits'),
  inputSize: z
    .union([side, z.tuple([side, side])])
    .default(32)
    .describe('Pixels of a side, or [height, width]'),
  inputChannels: z.number().int().min(1).max(1024).default(3).describe('3 for colour, 1 for grey'),
  resolution: z
    .union([z.literal('input'), side, z.tuple([side, side])])
    .default('input')
    .describe(
      'Pixels of a side, or [height, width], that the layers work at; where they are not those of inputSize, a Resize comes first. input: those of inputSize',
    ),
};

export const stemOption = z
  .enum(['auto', 'small', 'large'])
  .default('auto')
  .describe(
    'large: the paper for 224 pixels; small: without the first two halvings of the map, so that 32 pixels end in 4x4; auto: small up to 64 pixels',
  );

export const widthOption = z
  .number()
  .min(0.05)
  .max(16)
  .default(1)
  .describe('Factor on the number of channels of every layer');

export const depthOption = z
  .number()
  .min(0.1)
  .max(8)
  .default(1)
  .describe('Factor on the number of blocks of every stage, rounded, at least one');

export const dropoutOption = z
  .number()
  .min(0)
  .lt(1)
  .default(0)
  .describe('Share of features dropped ahead of the last layer, in training only');

type Size = number | readonly [number, number];

interface InputOptions {
  readonly inputSize: Size;
  readonly inputChannels: number;
  readonly resolution: 'input' | Size;
}

/** The network's input at the size that its layers work at. */
export function inputOf(network: NetworkBuilder, { inputSize, inputChannels, resolution }: InputOptions): Feature {
  const image = network.input(inputChannels, ...sidesOf(inputSize));
  return resolution === 'input' ? image : network.resize('stem.resize', image, ...sidesOf(resolution));
}

function sidesOf(size: Size): readonly [height: number, width: number] {
  return typeof size === 'number' ? [size, size] : size;
}

const SMALL_STEM_PIXELS = 64;

export function hasSmallStem(stem: 'auto' | 'small' | 'large', { inputSize, resolution }: InputOptions): boolean {
  if (stem !== 'auto') return stem === 'small';
  return Math.max(...sidesOf(resolution === 'input' ? inputSize : resolution)) <= SMALL_STEM_PIXELS;
}

/** Blocks of a stage under a depth factor. */
export function scaledDepth(blocks: number, depth: number): number {
  return Math.max(1, Math.round(blocks * depth));
}

/**
 * The multiple of `divisor` next to `value`, never more than a tenth below it. The rule of the MobileNet papers' code.
 */
export function makeDivisible(value: number, divisor = 8): number {
  const rounded = Math.max(divisor, Math.floor((value + divisor / 2) / divisor) * divisor);
  return rounded < 0.9 * value ? rounded + divisor : rounded;
}
