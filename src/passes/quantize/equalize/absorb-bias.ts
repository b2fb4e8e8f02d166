import type { Model } from '../../../onnx/model.ts';
import { layerBias } from '../../layer-bias.ts';
import type { ObservationPoint, Observations } from '../../observe.ts';
import type { Skipped } from '../../pass.ts';
import type { Link } from './homogeneous-links.ts';
import { visitKernels, type ScalableLayer } from './scalable-layer.ts';

/** Behind which a value that is never below c > 0 passes as it is, so that f(x - c) = f(x) - c. */
const PASSES_POSITIVE: ReadonlySet<string> = new Set(['Relu', 'LeakyRelu', 'PRelu', 'Identity', 'Flatten']);

/** A place where what a layer adds to all values of a channel could move into the bias of the next layer. */
interface Absorption {
  readonly link: Link;
  readonly point: ObservationPoint;
}

/**
 * Links whose second layer may take over a constant part of its input. Exact only where the second layer pads nothing, since
 * padding stands for zero, not for the constant.
 */
export function absorbableLinks(links: readonly Link[]): {
  readonly absorptions: readonly Absorption[];
  readonly skipped: readonly Skipped[];
} {
  const absorptions: Absorption[] = [];
  const skipped: Skipped[] = [];
  for (const link of links) {
    const { first, second, between } = link;
    const foreign = between.find(({ opType }) => !PASSES_POSITIVE.has(opType));
    const reason =
      foreign !== undefined
        ? `${foreign.opType} lies between it and ${second.label}`
        : padsNothing(second)
          ? undefined
          : `${second.label} pads its input with zeros`;
    if (reason !== undefined) {
      skipped.push({ node: first.label, reason: `bias not absorbed: ${reason}` });
      continue;
    }
    const axis = first.node.opType === 'Gemm' ? -1 : 1;
    absorptions.push({
      link,
      point: { tensor: first.node.outputs[0] ?? '', statistic: { kind: 'channel-range', axis } },
    });
  }
  return { absorptions, skipped };
}

function padsNothing({ node }: ScalableLayer): boolean {
  if (node.opType === 'Gemm' || node.opType === 'MatMul') return true;
  // A transposed convolution spreads each input over its window: at the borders fewer windows meet.
  if (node.opType === 'ConvTranspose') return false;
  const auto = node.string('auto_pad', 'NOTSET');
  return auto === 'VALID' || (auto === 'NOTSET' && (node.ints('pads') ?? []).every((pad) => pad === 0));
}

/**
 * Moves what each channel of the first layer never falls below (on the calibration data) into the bias of the second: the range of
 * the value between shrinks, the output stays. The original estimates that constant by three standard deviations of a
 * BatchNormalization, which is folded by now; the smallest observed value is exact on the data.
 *
 * @returns channels moved
 * @see Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1.3
 */
export function absorbBias(model: Model, { link, point }: Absorption, observations: Observations): number {
  const { first, second, channels, repeats } = link;
  const observation = observations.get(point);
  const from = layerBias(model, first.node, channels);
  const to = layerBias(model, second.node, second.layout.outputs);
  if (observation?.kind !== 'channel-range' || from?.add === undefined || to?.add === undefined) return 0;
  const constant = observation.min.map((min) => Math.max(0, min));
  const moved = constant.filter((value) => value > 0).length;
  if (moved === 0) return 0;
  const factor = second.node.float('alpha', 1);
  const shift = new Float64Array(second.layout.outputs);
  const values = (model.graph.initializers.get(second.weight.name) ?? second.weight).floats();
  visitKernels(second.layout, (input, output, start, end) => {
    const c = constant[Math.floor(input / repeats)] ?? 0;
    let sum = 0;
    for (let i = start; i < end; i += 1) sum += values[i] ?? 0;
    shift[output] = (shift[output] ?? 0) + sum * c * factor;
  });
  from.add(constant.map((value) => -value));
  to.add(shift);
  return moved;
}
