import type { Link } from './homogeneous-links.ts';
import { isDepthwise, visitKernels, type ScalableLayer } from './scalable-layer.ts';

/** Stops when no scale changes by more than this share in a pass over the links. */
const TOLERANCE = 1e-4;
const MAX_PASSES = 20;

/** Factors on a layer's channels, found but not yet applied; ones where nothing changes. */
export interface LayerScales {
  /** On the weights of each input channel. */
  readonly inputs: Float64Array;
  /** The output channel's values become this times smaller; so do its weights and bias. */
  readonly outputs: Float64Array;
}

export interface Equalization {
  readonly scales: ReadonlyMap<ScalableLayer, LayerScales>;
  readonly passes: number;
}

/**
 * Cross-layer equalization: channel i between two layers gets the scale s = sqrt(r1 / r2) of the largest absolute weights that make
 * it (r1) and read it (r2), so that both become sqrt(r1 r2); through a depthwise layer in the middle, whose one kernel a channel does
 * both, the three ranges become their cubic mean. Channels with a range of zero stay. Links are gone through again and again,
 * since a layer lies in two of them. 20 passes over the weights at most.
 *
 * @see Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1
 */
export function crossLayerScales(links: readonly Link[]): Equalization {
  const layers = [...new Set(links.flatMap(({ first, second }) => [first, second]))];
  const scales = new Map(
    layers.map((layer): [ScalableLayer, LayerScales] => {
      const { inputs, outputs, groups } = layer.layout;
      return [layer, { inputs: new Float64Array(inputs * groups).fill(1), outputs: new Float64Array(outputs).fill(1) }];
    }),
  );
  const scalesOf = (layer: ScalableLayer): LayerScales => {
    const found = scales.get(layer);
    if (found === undefined) throw new RangeError(`layer "${layer.label}" is in no link`);
    return found;
  };
  const behind = new Map(links.map((link) => [link.first, link]));
  let passes = 0;
  for (let change = Infinity; change > TOLERANCE && passes < MAX_PASSES; passes += 1) {
    change = 0;
    for (const link of links) {
      const next = behind.get(link.second);
      const isTriple = isDepthwise(link.second) && next !== undefined && !isDepthwise(link.first);
      change = Math.max(change, isTriple ? equalizeTriple(link, next, scalesOf) : equalizePair(link, scalesOf));
    }
  }
  return { scales, passes };
}

type ScalesOf = (layer: ScalableLayer) => LayerScales;

/** @returns the largest |s - 1| */
function equalizePair(link: Link, scalesOf: ScalesOf): number {
  const r1 = rangesOf(link.first, scalesOf(link.first), 'outputs');
  const r2 = readRanges(link, scalesOf);
  let change = 0;
  for (let c = 0; c < link.channels; c += 1) {
    const [a, b] = [r1[c] ?? 0, r2[c] ?? 0];
    if (a > 0 && b > 0) change = Math.max(change, scaleChannel(link, c, Math.sqrt(a / b), scalesOf));
  }
  return change;
}

function equalizeTriple(link: Link, next: Link, scalesOf: ScalesOf): number {
  const r1 = rangesOf(link.first, scalesOf(link.first), 'outputs');
  const r2 = rangesOf(link.second, scalesOf(link.second), 'outputs');
  const r3 = readRanges(next, scalesOf);
  let change = 0;
  for (let c = 0; c < link.channels; c += 1) {
    const [a, b, d] = [r1[c] ?? 0, r2[c] ?? 0, r3[c] ?? 0];
    if (!(a > 0 && b > 0 && d > 0)) continue;
    const mean = Math.cbrt(a) * Math.cbrt(b) * Math.cbrt(d);
    change = Math.max(change, scaleChannel(link, c, a / mean, scalesOf), scaleChannel(next, c, mean / d, scalesOf));
  }
  return change;
}

function scaleChannel({ first, second, repeats }: Link, channel: number, scale: number, scalesOf: ScalesOf): number {
  const { outputs } = scalesOf(first);
  const { inputs } = scalesOf(second);
  outputs[channel] = (outputs[channel] ?? 1) * scale;
  for (let i = channel * repeats; i < (channel + 1) * repeats; i += 1) inputs[i] = (inputs[i] ?? 1) * scale;
  return Math.abs(scale - 1);
}

/** Largest weights that read each channel of a link. */
function readRanges({ second, channels, repeats }: Link, scalesOf: ScalesOf): Float64Array {
  const all = rangesOf(second, scalesOf(second), 'inputs');
  if (repeats === 1) return all;
  const ranges = new Float64Array(channels);
  for (let i = 0; i < all.length; i += 1) {
    const channel = Math.floor(i / repeats);
    ranges[channel] = Math.max(ranges[channel] ?? 0, all[i] ?? 0);
  }
  return ranges;
}

/** Largest absolute weight of each output (or input) channel, as scaled so far. O(weights). */
function rangesOf(layer: ScalableLayer, scales: LayerScales, side: 'inputs' | 'outputs'): Float64Array {
  const { layout } = layer;
  const values = layer.weight.floats();
  const ranges = new Float64Array(scales[side].length);
  visitKernels(layout, (input, output, from, to) => {
    let largest = 0;
    for (let i = from; i < to; i += 1) largest = Math.max(largest, Math.abs(values[i] ?? 0));
    const scaled = (largest * (scales.inputs[input] ?? 1)) / (scales.outputs[output] ?? 1);
    const channel = side === 'inputs' ? input : output;
    if (scaled > (ranges[channel] ?? 0)) ranges[channel] = scaled;
  });
  return ranges;
}

/** The layer's weight under its scales: w / s of its output channel * s of its input channel, in float64, then float32. */
export function scaledWeight({ weight, layout }: ScalableLayer, { inputs, outputs }: LayerScales): Float32Array {
  const values = weight.floats();
  const scaled = new Float32Array(values.length);
  visitKernels(layout, (input, output, from, to) => {
    const factor = (inputs[input] ?? 1) / (outputs[output] ?? 1);
    for (let i = from; i < to; i += 1) scaled[i] = (values[i] ?? 0) * factor;
  });
  return scaled;
}
