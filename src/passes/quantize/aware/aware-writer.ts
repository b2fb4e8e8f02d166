import { makeNode } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { ActivationParams } from '../activation-params.ts';
import type { WriteJob } from '../code-writer.ts';
import { QdqWriter } from '../qdq-writer.ts';
import type { ComputeUnit, UnitBias } from '../units.ts';

export interface AwareWriteJob extends WriteJob {
  /** Whether a layer's codes go to int8 kernels, which take biases in int32; others compute in float. */
  hasIntegerBias(unit: ComputeUnit): boolean;
}

/** Writes quantizers of fewer than 8 bits too: as uint8 codes that a Clip holds to their range, so that kernels for bytes take them. */
export class AwareQdqWriter extends QdqWriter {
  readonly #job: AwareWriteJob;

  constructor(job: AwareWriteJob) {
    super(job);
    this.#job = job;
  }

  protected override pushQuantize(from: string, codes: string, quantizer: string): void {
    const { range } = this.paramsOf(quantizer);
    if (range[1] === BYTE) {
      super.pushQuantize(from, codes, quantizer);
      return;
    }
    const wide = this.names.fresh(`${codes}_bytes`);
    super.pushQuantize(from, wide, quantizer);
    this.#pushClip(wide, codes, range);
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
        this.beside(tensor.name, 'f'),
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
