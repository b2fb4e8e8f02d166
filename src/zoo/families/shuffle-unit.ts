import type { Feature, NetworkBuilder } from '../network-builder.ts';
import { channelShuffle } from './channel-shuffle.ts';

/** Of the convolutions in a unit of ShuffleNetV2, beside its outputs. */
export interface ShuffleUnitOptions {
  /** Of the depthwise convolutions; default 3. */
  readonly kernel?: number;
  /** Inner channels of a branch as a multiple of its outputs; default 1. */
  readonly expansion?: number;
}

/** Keeps shape and channels (an even number of them): one half passes by, a branch changes the other. */
export function shuffleUnit(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  { kernel = 3, expansion = 1 }: ShuffleUnitOptions = {},
): Feature {
  const half = x.channels / 2;
  const [left = '', right = ''] = network.graph.ops('Split', [x.value], 2, {
    name: `${name}.split`,
    attributes: { axis: 1, num_outputs: 2 },
  });
  const shape = { channels: half, stride: 1, kernel, expansion };
  const y = branch(network, `${name}.right`, { ...x, value: right, channels: half }, shape);
  const both = network.concat(`${name}.concat`, [{ ...x, value: left, channels: half }, y]);
  return channelShuffle(network, `${name}.shuffle`, both, 2);
}

/** Changes shape or channels: two branches with half of the outputs each. */
export function shuffleDownUnit(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  shape: ShuffleUnitOptions & { readonly channels: number; readonly stride: number },
): Feature {
  const { channels, stride, kernel = 3, expansion = 1 } = shape;
  const half = channels / 2;
  let left = network.conv(`${name}.left.depthwise.conv`, x, {
    channels: x.channels,
    kernel,
    stride,
    groups: x.channels,
  });
  left = network.batchNorm(`${name}.left.depthwise.bn`, left);
  left = network.conv(`${name}.left.pointwise.conv`, left, { channels: half, kernel: 1 });
  left = network.relu(`${name}.left.pointwise.relu`, network.batchNorm(`${name}.left.pointwise.bn`, left));
  const right = branch(network, `${name}.right`, x, { channels: half, stride, kernel, expansion });
  return channelShuffle(network, `${name}.shuffle`, network.concat(`${name}.concat`, [left, right]), 2);
}

function branch(
  network: NetworkBuilder,
  name: string,
  x: Feature,
  shape: { readonly channels: number; readonly stride: number; readonly kernel: number; readonly expansion: number },
): Feature {
  const { channels, stride, kernel, expansion } = shape;
  const inner = Math.max(1, Math.round(channels * expansion));
  let y = network.conv(`${name}.conv1`, x, { channels: inner, kernel: 1 });
  y = network.relu(`${name}.relu1`, network.batchNorm(`${name}.bn1`, y));
  y = network.conv(`${name}.depthwise.conv`, y, { channels: inner, kernel, stride, groups: inner });
  y = network.batchNorm(`${name}.depthwise.bn`, y);
  y = network.conv(`${name}.conv2`, y, { channels, kernel: 1 });
  return network.relu(`${name}.relu2`, network.batchNorm(`${name}.bn2`, y));
}
