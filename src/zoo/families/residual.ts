import { CompressionError } from '../../errors.ts';
import type { ConvOptions, Feature, NetworkBuilder } from '../network-builder.ts';

/** Writes one weighted layer of a block: a convolution, or what takes its place. */
export type Layer = (network: NetworkBuilder, name: string, x: Feature, options: ConvOptions) => Feature;

export const convLayer: Layer = (network, name, x, options) => network.conv(name, x, options);

export interface ResidualPlan {
  /** Blocks by stage; the first block of every stage but the first halves the map. */
  readonly blocks: readonly number[];
  /** Channels by stage; a bottleneck gives four times as many. */
  readonly channels: readonly number[];
  readonly block: 'basic' | 'bottleneck';
  readonly bottleneckWidth: number;
  readonly shortcut: 'projection' | 'pad';
  /** Start of the last gamma of each block. */
  readonly lastGamma: number;
  readonly layer: Layer;
}

const EXPANSION = 4;

/** Stem and stages of a residual network. The stem is always a convolution. */
export function residualNetwork(
  network: NetworkBuilder,
  input: Feature,
  plan: ResidualPlan & { readonly stemChannels: number; readonly isSmallStem: boolean },
): Feature {
  const { stemChannels, isSmallStem } = plan;
  const stem = isSmallStem ? { kernel: 3, stride: 1 } : { kernel: 7, stride: 2 };
  let x = network.conv('stem.conv', input, { channels: stemChannels, ...stem });
  x = network.relu('stem.relu', network.batchNorm('stem.bn', x));
  if (!isSmallStem) x = network.maxPool('stem.pool', x, { kernel: 3, stride: 2, padding: 1 });
  for (const [stage, count] of plan.blocks.entries()) {
    for (let block = 0; block < count; block += 1) {
      const name = `stage${stage + 1}.block${block + 1}`;
      const shape = { channels: plan.channels[stage] ?? 0, stride: stage > 0 && block === 0 ? 2 : 1 };
      const site: BlockSite = { network, name, plan, ...shape };
      x = plan.block === 'basic' ? basicBlock(site, x) : bottleneck(site, x);
    }
  }
  return x;
}

interface BlockSite {
  readonly network: NetworkBuilder;
  readonly name: string;
  readonly plan: ResidualPlan;
  readonly channels: number;
  readonly stride: number;
}

function basicBlock(site: BlockSite, x: Feature): Feature {
  const { network, name, plan, channels, stride } = site;
  let y = plan.layer(network, `${name}.conv1`, x, { channels, kernel: 3, stride });
  y = network.relu(`${name}.relu1`, network.batchNorm(`${name}.bn1`, y));
  y = plan.layer(network, `${name}.conv2`, y, { channels, kernel: 3 });
  y = network.batchNorm(`${name}.bn2`, y, { gamma: plan.lastGamma });
  return network.relu(`${name}.relu2`, network.add(`${name}.add`, y, shortcut(site, x, channels)));
}

/** The stride is on the 3x3 layer ("version 1.5"). */
function bottleneck(site: BlockSite, x: Feature): Feature {
  const { network, name, plan, stride } = site;
  const inner = Math.max(1, Math.round(site.channels * plan.bottleneckWidth));
  const channels = site.channels * EXPANSION;
  let y = plan.layer(network, `${name}.conv1`, x, { channels: inner, kernel: 1 });
  y = network.relu(`${name}.relu1`, network.batchNorm(`${name}.bn1`, y));
  y = plan.layer(network, `${name}.conv2`, y, { channels: inner, kernel: 3, stride });
  y = network.relu(`${name}.relu2`, network.batchNorm(`${name}.bn2`, y));
  y = plan.layer(network, `${name}.conv3`, y, { channels, kernel: 1 });
  y = network.batchNorm(`${name}.bn3`, y, { gamma: plan.lastGamma });
  return network.relu(`${name}.relu3`, network.add(`${name}.add`, y, shortcut(site, x, channels)));
}

function shortcut({ network, name, plan, stride }: BlockSite, x: Feature, channels: number): Feature {
  if (stride === 1 && x.channels === channels) return x;
  if (plan.shortcut === 'pad') return paddedShortcut(network, `${name}.shortcut`, x, { channels, stride });
  const y = plan.layer(network, `${name}.shortcut.conv`, x, { channels, kernel: 1, stride });
  return network.batchNorm(`${name}.shortcut.bn`, y);
}

/** Every `stride`-th pixel; new channels of zeros, half of them in front. */
function paddedShortcut(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  { channels, stride }: { readonly channels: number; readonly stride: number },
): Feature {
  const added = channels - x.channels;
  if (added < 0) {
    const message = `cannot go from ${x.channels} to ${channels} channels by padding; use "projection"`;
    throw new CompressionError('RECIPE_INVALID', `${name} ${message}`, { places: [{ pointer: '/shortcut', message }] });
  }
  let { value } = x;
  if (stride > 1) {
    const sliceInputs = [
      [0, 0],
      [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
      [2, 3],
      [stride, stride],
    ];
    value = network.op('Slice', [value, ...sliceInputs.map((values) => network.ints(values))], `${name}.slice`);
  }
  const front = Math.floor(added / 2);
  const pads = network.ints([0, front, 0, 0, 0, added - front, 0, 0]);
  value = network.op('Pad', [value, pads], `${name}.pad`);
  return network.resized(name, { ...x, value, channels }, { kernel: 1, stride });
}
