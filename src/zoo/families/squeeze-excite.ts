import type { Feature, NetworkBuilder } from '../network-builder.ts';

/**
 * Scales each channel by what the map's averages say of it: 1x1 to `channels`, ReLU, 1x1 back, HardSigmoid.
 *
 * @see Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018; HardSigmoid as in MobileNetV3
 */
export function squeezeExcite(network: NetworkBuilder, name: string, x: Feature, channels: number): Feature {
  let scale = network.globalAveragePool(`${name}.pool`, x);
  scale = network.relu(`${name}.relu`, network.conv(`${name}.conv1`, scale, { channels, kernel: 1, bias: true }));
  scale = network.conv(`${name}.conv2`, scale, { channels: x.channels, kernel: 1, bias: true });
  const gate = network.op('HardSigmoid', [scale.value], `${name}.hardsigmoid`, { alpha: 1 / 6, beta: 0.5 });
  return { ...x, value: network.op('Mul', [x.value, gate], `${name}.mul`) };
}
