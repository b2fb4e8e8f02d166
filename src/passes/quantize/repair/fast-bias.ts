import { CompressionError } from '../../../errors.ts';
import { NameScope } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { makeNode } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import { copyModel } from '../../../training/copy-model.ts';
import { calibrate } from '../../calibrate.ts';
import type { ObservationPoint } from '../../observe.ts';
import type { PassContext, Skipped } from '../../pass.ts';
import { nodeLabel } from '../node-filter.ts';
import type { QuantPlan } from '../plan.ts';
import type { ActivationParams } from '../activation-params.ts';
import { allocateQuantized, codesTensor } from '../quant-type.ts';
import { LARGEST_BIAS_SHIFT, type RepairedLayer } from './repair-layers.ts';
import type { SimulatedLayer, Simulation } from './simulation.ts';

/** What the inputs of the layers are rounded by. */
export interface InputRounding {
  readonly plan: QuantPlan;
  readonly params: ReadonlyMap<string, ActivationParams>;
}

export interface FastCorrection {
  /** What is to be added to the bias of the layer that makes a value. */
  readonly biasShifts: ReadonlyMap<string, Float64Array>;
  readonly layers: readonly RepairedLayer[];
  readonly skipped: readonly Skipped[];
}

/**
 * Corrections of biases from one run over the data: beside each layer of the float model stands its quantized form, which reads the same
 * float input, rounded; the difference of their means, channel by channel, is what the bias takes back. Errors of layers before are
 * not seen; `repairLayers` sees them and costs a run of both models.
 *
 * @param float - stays as it is
 * @throws CompressionError DATASET_EMPTY, MODEL_RUN
 * @see Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2
 */
export async function fastBiasCorrection(
  float: Model,
  simulation: Simulation,
  rounding: InputRounding,
  context: PassContext,
): Promise<FastCorrection> {
  const feeds = context.data.calibration;
  if (feeds === undefined) throw new CompressionError('PASS_PRECONDITION', 'bias correction needs calibration data');
  const both = new SideNodes(copyModel(float), simulation, rounding);
  const skipped: Skipped[] = [];
  const added: { readonly layer: SimulatedLayer; readonly made: string }[] = [];
  for (const layer of simulation.layers) {
    if (layer.biasName !== undefined) added.push({ layer, made: both.add(layer) });
    else skipped.push({ node: nodeLabel(layer.node), reason: 'bias not corrected: the layer has none' });
  }
  const model = both.finish();
  const points = added.flatMap(({ layer, made }) => [...pointsOf(layer, layer.output), ...pointsOf(layer, made)]);
  const observations = points.length === 0 ? undefined : await calibrate(model, points, feeds, context);
  const biasShifts = new Map<string, Float64Array>();
  const layers: RepairedLayer[] = [];
  for (const { layer, made } of added) {
    const label = nodeLabel(layer.node);
    const [meanPoint, rangePoint] = pointsOf(layer, layer.output);
    const mean = observations?.get(meanPoint);
    const range = observations?.get(rangePoint);
    const rounded = observations?.get(pointsOf(layer, made)[0]);
    if (mean?.kind !== 'channel-mean' || rounded?.kind !== 'channel-mean' || range?.kind !== 'range') {
      skipped.push({ node: label, reason: 'bias not corrected: the layer never ran on the calibration data' });
      continue;
    }
    const shift = mean.mean.map((value, c) => value - (rounded.mean[c] ?? 0));
    const size = shift.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const largest = Math.max(-range.min, range.max);
    if (!(size <= LARGEST_BIAS_SHIFT * largest)) {
      const reason = `bias not corrected: means are off by up to ${size.toPrecision(3)}, outputs reach ${largest.toPrecision(3)}`;
      skipped.push({ node: label, reason });
      continue;
    }
    biasShifts.set(layer.output, shift);
    layers.push({ node: label, biasShift: largest === 0 ? 0 : size / largest });
  }
  return { biasShifts, layers, skipped };
}

function pointsOf({ node }: SimulatedLayer, tensor: string): readonly [ObservationPoint, ObservationPoint] {
  const axis = node.opType === 'Conv' ? 1 : -1;
  return [
    { tensor, statistic: { kind: 'channel-mean', axis } },
    { tensor, statistic: { kind: 'minmax' } },
  ];
}

/** Writes quantized forms of layers beside them. */
class SideNodes {
  readonly #model: Model;
  readonly #simulation: Simulation;
  readonly #rounding: InputRounding;
  readonly #names: NameScope;
  readonly #behind = new Map<string, ReturnType<typeof makeNode>[]>();
  readonly #rounded = new Map<string, string>();

  constructor(model: Model, simulation: Simulation, rounding: InputRounding) {
    this.#model = model;
    this.#simulation = simulation;
    this.#rounding = rounding;
    this.#names = new NameScope(model.graph);
  }

  /** @returns the value that the quantized form makes */
  add({ unit, node, input, output, weightName, biasName }: SimulatedLayer): string {
    const { initializers } = this.#simulation.model.graph;
    const copied = [weightName, biasName].map((name) => {
      const tensor = initializers.get(name ?? '');
      return tensor === undefined ? '' : this.#store(tensor);
    });
    const made = this.#names.fresh(`${output}_rounded`);
    const side = makeNode(node.opType, [this.#round({ unit, input, output }), ...copied], [made]);
    side.attributes = node.attributes;
    this.#push(output, side);
    return made;
  }

  finish(): Model {
    const { graph } = this.#model;
    graph.nodes = graph.nodes.flatMap((node) => [
      node,
      ...node.outputs.flatMap((output) => this.#behind.get(output) ?? []),
    ]);
    return this.#model;
  }

  #round({ unit, input, output }: Pick<SimulatedLayer, 'unit' | 'input' | 'output'>): string {
    const { plan, params } = this.#rounding;
    const quantizer = plan.quantizerOf(unit, 0);
    const key = `${input} by ${quantizer}`;
    const known = this.#rounded.get(key);
    if (known !== undefined) return known;
    const chosen = params.get(quantizer);
    if (chosen === undefined) return input;
    const { type } = chosen;
    const [scale, zeroPoint, codes, rounded] = ['s', 'z', 'q', 'dq'].map((suffix) =>
      this.#names.fresh(`${input}_${suffix}`),
    );
    this.#store(Tensor.float(scale ?? '', [chosen.scale], []));
    this.#store(codesTensor(zeroPoint ?? '', type, [], allocateQuantized(type, 1).fill(chosen.zeroPoint)));
    const given = [scale ?? '', zeroPoint ?? ''];
    this.#push(output, makeNode('QuantizeLinear', [input, ...given], [codes ?? '']));
    this.#push(output, makeNode('DequantizeLinear', [codes ?? '', ...given], [rounded ?? '']));
    this.#rounded.set(key, rounded ?? '');
    return rounded ?? '';
  }

  /** Right behind the layer: its input is made by then, and later layers that read the same input come later. */
  #push(output: string, node: ReturnType<typeof makeNode>): void {
    this.#behind.set(output, [...(this.#behind.get(output) ?? []), node]);
  }

  #store(tensor: Tensor): string {
    this.#model.graph.initializers.set(tensor.name, tensor);
    return tensor.name;
  }
}
