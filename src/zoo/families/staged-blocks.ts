import type { CompressionError } from '../../errors.ts';
import type { Activation, Feature, NetworkBuilder } from '../network-builder.ts';
import { shuffleDownUnit, shuffleUnit } from './shuffle-unit.ts';
import { squeezeExcite } from './squeeze-excite.ts';

export const STAGE_BLOCKS = ['basic', 'bottleneck', 'inverted', 'separable', 'shuffle', 'plain', 'skip'] as const;
export type StageBlock = (typeof STAGE_BLOCKS)[number];

export interface StagedBlockShape {
  readonly block: StageBlock;
  readonly channels: number;
  readonly kernel: number;
  /** Default: that of the block's paper. */
  readonly expansion?: number;
  readonly groups: number;
  readonly stride: number;
  readonly squeezeExcite: boolean;
  readonly activation: Activation;
  /** Where shape and channels stay, what comes in is added as it is. */
  readonly addsInput: boolean;
  /** Of inverted, also with expansion 1. */
  readonly alwaysExpands: boolean;
  /** The error for an option that the block cannot have here. */
  readonly refuse: (option: string, problem: string) => CompressionError;
}

const EXPANSION = { basic: 1, bottleneck: 4, inverted: 6, shuffle: 1 } as const;
/** Channels of the squeeze, of those that are squeezed. */
const SQUEEZE = 4;

/** @throws CompressionError RECIPE_INVALID where there is no such block */
export function stagedBlock(network: NetworkBuilder, name: string, x: Feature, shape: StagedBlockShape): Feature {
  const site: Site = { network, name, shape };
  switch (shape.block) {
    case 'basic':
      return basic(site, x);
    case 'bottleneck':
      return bottleneck(site, x);
    case 'inverted':
      return inverted(site, x);
    case 'separable':
      return separable(site, x);
    case 'shuffle':
      return shuffle(site, x);
    case 'plain':
      return plain(site, x);
    case 'skip':
      if (shape.stride === 1 && shape.channels === x.channels) return x;
      throw shape.refuse(
        'block',
        `"skip" needs stride 1 and as many channels as come in, got stride ${shape.stride} and ${x.channels} -> ${shape.channels} channels`,
      );
  }
}

interface Site {
  readonly network: NetworkBuilder;
  readonly name: string;
  readonly shape: StagedBlockShape;
}

function basic(site: Site, x: Feature): Feature {
  const { network, name, shape } = site;
  const { channels, kernel, stride, groups, expansion = EXPANSION.basic } = shape;
  const inner = divided(shape, Math.round((channels * expansion) / groups) * groups);
  let y = layer(site, 'conv1', grouped(shape, x), { channels: inner, kernel, stride, groups });
  y = network.conv(`${name}.conv2`, y, { channels: divided(shape, channels), kernel, groups });
  y = network.batchNorm(`${name}.bn2`, y);
  return sum(site, x, y);
}

function bottleneck(site: Site, x: Feature): Feature {
  const { network, name, shape } = site;
  const { channels, kernel, stride, groups, expansion = EXPANSION.bottleneck } = shape;
  const inner = divided(shape, Math.round(channels / expansion / groups) * groups);
  let y = layer(site, 'conv1', x, { channels: inner, kernel: 1 });
  y = layer(site, 'conv2', y, { channels: inner, kernel, stride, groups });
  y = network.batchNorm(`${name}.bn3`, network.conv(`${name}.conv3`, y, { channels, kernel: 1 }));
  return sum(site, x, y);
}

/** The branch of basic and bottleneck, added to what comes in, or to a projection of it where the shape changes. */
function sum({ network, name, shape }: Site, x: Feature, branch: Feature): Feature {
  const { channels, stride, activation, addsInput } = shape;
  const y = excited({ network, name, shape }, branch);
  let shortcut = x;
  if (stride !== 1 || x.channels !== channels || !addsInput) {
    shortcut = network.conv(`${name}.shortcut.conv`, x, { channels, kernel: 1, stride });
    shortcut = network.batchNorm(`${name}.shortcut.bn`, shortcut);
  }
  return network.activation(`${name}.act`, network.add(`${name}.add`, y, shortcut), activation);
}

function inverted(site: Site, x: Feature): Feature {
  const { network, name, shape } = site;
  const { channels, kernel, stride, addsInput, alwaysExpands, expansion = EXPANSION.inverted } = shape;
  const inner = Math.max(1, Math.round(x.channels * expansion));
  let y = expansion === 1 && !alwaysExpands ? x : layer(site, 'expand', x, { channels: inner, kernel: 1 });
  y = excited(site, layer(site, 'depthwise', y, { channels: inner, kernel, stride, groups: inner }));
  y = network.conv(`${name}.project.conv`, y, { channels, kernel: 1 });
  y = network.batchNorm(`${name}.project.bn`, y);
  return addsInput && stride === 1 && x.channels === channels ? network.add(`${name}.add`, x, y) : y;
}

function separable(site: Site, x: Feature): Feature {
  const { channels, kernel, stride } = site.shape;
  const y = layer(site, 'depthwise', x, { channels: x.channels, kernel, stride, groups: x.channels });
  return excited(site, layer(site, 'pointwise', y, { channels, kernel: 1 }));
}

function plain(site: Site, x: Feature): Feature {
  const { channels, kernel, stride, groups } = site.shape;
  return excited(
    site,
    layer(site, 'conv', grouped(site.shape, x), { channels: divided(site.shape, channels), kernel, stride, groups }),
  );
}

function shuffle(site: Site, x: Feature): Feature {
  const { network, name, shape } = site;
  const { channels, kernel, stride, expansion = EXPANSION.shuffle } = shape;
  if (channels % 2 !== 0) throw shape.refuse('channels', `of "shuffle" must be even, got ${channels}`);
  const keeps = stride === 1 && x.channels === channels;
  const y = keeps
    ? shuffleUnit(network, name, x, { kernel, expansion })
    : shuffleDownUnit(network, name, x, { channels, stride, kernel, expansion });
  return excited(site, y);
}

interface LayerOptions {
  readonly channels: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly groups?: number;
}

/** Convolution, BatchNormalization, activation. */
function layer({ network, name, shape }: Site, part: string, x: Feature, options: LayerOptions): Feature {
  const y = network.batchNorm(`${name}.${part}.bn`, network.conv(`${name}.${part}.conv`, x, options));
  return network.activation(`${name}.${part}.act`, y, shape.activation);
}

function excited({ network, name, shape }: Site, x: Feature): Feature {
  if (!shape.squeezeExcite) return x;
  return squeezeExcite(network, `${name}.se`, x, Math.max(1, Math.round(x.channels / SQUEEZE)));
}

/** Outputs of a grouped convolution. */
function divided({ groups, refuse }: StagedBlockShape, channels: number): number {
  if (channels > 0 && channels % groups === 0) return channels;
  throw refuse('groups', `${groups} do not divide ${channels} channels`);
}

/** What goes into a grouped convolution. */
function grouped(shape: StagedBlockShape, x: Feature): Feature {
  divided(shape, x.channels);
  return x;
}
