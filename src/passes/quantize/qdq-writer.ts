import { makeNode } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { CodeWriter, type StoredConstant } from './code-writer.ts';
import type { ComputeUnit } from './units.ts';

/** Writes compute units as float operators between DequantizeLinear and QuantizeLinear, which runtimes fuse. */
export class QdqWriter extends CodeWriter {
  protected override readonly readsFloats = true;
  readonly #dequantized = new Map<string, string>();

  protected override writeCompute(unit: ComputeUnit): void {
    const { node, weight, bias } = unit;
    const inputs = [...node.inputs];
    for (const index of unit.activations) inputs[index] = this.floatOf(inputs[index] ?? '');
    for (const index of unit.constants)
      inputs[index] = this.#constant(this.storedConstant(inputs[index] ?? ''), inputs[index] ?? '');
    if (weight !== undefined) inputs[weight.index] = this.#constant(this.storedWeight(unit), weight.tensor.name);
    if (bias !== undefined) inputs[bias.index] = this.#bias(unit);
    node.inputs = inputs;
    if (weight !== undefined && weight.factor !== 1) node.attributes.delete('alpha');
    if (bias !== undefined && bias.factor !== 1) node.attributes.delete('beta');
    const output = node.outputs[0] ?? '';
    const quantized = this.job.plan.makesCodes(node);
    const raw = quantized ? this.names.fresh(`${output}_f`) : output;
    node.outputs = [raw];
    this.push(node);
    if (!quantized) return;
    const codes = this.names.fresh(`${output}_q`);
    this.pushQuantize(raw, codes, output);
    this.setCodes(output, codes);
  }

  #constant(stored: StoredConstant, base: string): string {
    const known = this.#dequantized.get(stored.codes);
    if (known !== undefined) return known;
    const output = this.names.fresh(`${base}_dq`);
    const attributes = stored.axis === undefined ? {} : { axis: stored.axis };
    this.push(makeNode('DequantizeLinear', [stored.codes, stored.scale, stored.zeroPoint], [output], { attributes }));
    this.#dequantized.set(stored.codes, output);
    return output;
  }

  /** int32, one a node even where the initializer is shared: its scale holds that of the node's own input. */
  #bias(unit: ComputeUnit): string {
    const planned = this.job.weights.biasOf(unit);
    const base = unit.bias?.tensor.name ?? '';
    if (planned === undefined) return '';
    const { codes, scales } = planned;
    const scaleDims = scales.length === 1 ? [] : [scales.length];
    const names = [
      this.store(Tensor.fromArray(this.names.fresh(`${base}_q`), { type: 'int32', dims: [codes.length], data: codes })),
      this.store(Tensor.float(this.names.fresh(`${base}_s`), scales, scaleDims)),
    ];
    const output = this.names.fresh(`${base}_dq`);
    const attributes = scales.length === 1 ? {} : { axis: 0 };
    this.push(makeNode('DequantizeLinear', names, [output], { attributes }));
    return output;
  }
}
