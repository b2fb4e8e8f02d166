import { defined } from '../../../errors.ts';
import { makeNode } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { ActivationParams } from '../activation-params.ts';
import type { WriteJob } from '../code-writer.ts';
import { QdqWriter } from '../qdq-writer.ts';
import type { ComputeUnit, UnitBias } from '../units.ts';

/** Parameters of the second quantizers in front of layers, by layer and input: `key index`. */
export type EdgeParams = ReadonlyMap<string, { readonly name: string; readonly params: ActivationParams }>;

export interface AwareWriteJob extends WriteJob {
  readonly edges: EdgeParams;
  /** Whether a layer's codes go to int8 kernels, which take biases in int32; others compute in float. */
  hasIntegerBias(unit: ComputeUnit): boolean;
}

/** The place of a second quantizer in `EdgeParams`. */
export function edgePlace(key: string, inputIndex: number): string {
  return `${key} ${inputIndex}`;
}

/**
 * Writes quantizers of fewer than 8 bits too: as uint8 codes that a Clip holds to their range, so that kernels for bytes take
 * them; and those in front of a layer that reads fewer bits than others do.
 */
export class AwareQdqWriter extends QdqWriter {
  readonly #job: AwareWriteJob;
  readonly #edges = new Map<string, string>();

  constructor(job: AwareWriteJob) {
    super(job);
    this.#job = job;
  }

  protected override pushQuantize(from: string, codes: string, value: string): void {
    const { range } = this.chosenParams(value);
    if (range[1] === BYTE) {
      super.pushQuantize(from, codes, value);
      return;
    }
    const wide = this.names.fresh(`${value}_bytes`);
    super.pushQuantize(from, wide, value);
    this.#pushClip(wide, codes, range);
  }

  protected override activationOf(unit: ComputeUnit, index: number): string {
    const value = super.activationOf(unit, index);
    const edge = this.#job.edges.get(edgePlace(unit.node.outputs[0] ?? '', index));
    if (edge === undefined) return value;
    const known = this.#edges.get(edge.name);
    if (known !== undefined) return known;
    const { scale, zeroPoint } = this.storeParams(edge.name, edge.params, 'uint8');
    const [wide, codes, float] = ['bytes', 'q', 'dq'].map((part) => this.names.fresh(`${edge.name}_${part}`));
    this.push(makeNode('QuantizeLinear', [value, scale, zeroPoint], [defined(wide, 'bytes')]));
    this.#pushClip(defined(wide, 'bytes'), defined(codes, 'codes'), edge.params.range);
    this.push(makeNode('DequantizeLinear', [defined(codes, 'codes'), scale, zeroPoint], [defined(float, 'float')]));
    this.#edges.set(edge.name, defined(float, 'float'));
    return defined(float, 'float');
  }

  protected override biasOf(unit: ComputeUnit): string {
    return this.#hasOwnBias(unit) ? '' : super.biasOf(unit);
  }

  /**
   * Behind a layer with packed weights the bias is added in float: ONNX Runtime rounds a float bias of a layer between quantizers to
   * the grid of its products, which is coarse at a few bits, and then looks for an int8 kernel that takes the packed weights.
   */
  protected override pushUnit(unit: ComputeUnit, output: string): void {
    const { node, bias } = unit;
    if (bias === undefined || !this.#hasOwnBias(unit)) {
      super.pushUnit(unit, output);
      return;
    }
    node.inputs = node.inputs.slice(0, bias.index);
    const products = this.names.fresh(`${output}_products`);
    super.pushUnit(unit, products);
    this.push(makeNode('Add', [products, this.#storedBias(unit, bias)], [output]));
  }

  #hasOwnBias(unit: ComputeUnit): boolean {
    return unit.bias !== undefined && !this.#job.hasIntegerBias(unit);
  }

  /** In a shape that broadcasts over the channels. */
  #storedBias({ node, weight }: ComputeUnit, { tensor, factor, channels }: UnitBias): string {
    const values = tensor.floats();
    // A convolution's filters have an axis for each of the places behind its channels.
    const places = node.opType === 'Gemm' ? 0 : (weight?.tensor.dims.length ?? 2) - 2;
    return this.store(
      Tensor.float(
        this.names.fresh(`${tensor.name}_f`),
        Float32Array.from({ length: channels }, (_, c) => (values[values.length === 1 ? 0 : c] ?? 0) * factor),
        [channels, ...Array.from({ length: places }, () => 1)],
      ),
    );
  }

  #pushClip(from: string, to: string, [low, high]: ActivationParams['range']): void {
    const bounds = [low, high].map((code) => this.zeroPoint('uint8', code));
    this.push(makeNode('Clip', [from, ...bounds], [to]));
  }
}

const BYTE = 255;
