import type { Feature, NetworkBuilder } from '../network-builder.ts';

/** Channel c of group g goes to place c * groups + g: every group of the next layer sees all groups of this one. */
export function channelShuffle(network: NetworkBuilder, name: string, x: Feature, groups: number): Feature {
  const { channels, height, width } = x;
  // 0 keeps the batch axis.
  const grouped = network.op(
    'Reshape',
    [x.value, network.ints([0, groups, channels / groups, height, width])],
    `${name}.split`,
  );
  const transposed = network.op('Transpose', [grouped], `${name}.transpose`, { perm: [0, 2, 1, 3, 4] });
  return {
    ...x,
    value: network.op('Reshape', [transposed, network.ints([0, channels, height, width])], `${name}.merge`),
  };
}
