import { makeNode } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { CodeWriter, type StoredConstant } from './code-writer.ts';
import type { ComputeUnit, UnitWeight } from './units.ts';

/** Writes compute units as float operators between DequantizeLinear and QuantizeLinear, which runtimes fuse. */
export class QdqWriter extends CodeWriter {
  protected override readonly readsFloats = true;
  readonly #dequantized = new Map<string, string>();
  /** Scales of 1, by their number. */
  readonly #ones = new Map<number, string>();
  #offset: string | undefined;

  protected override writeCompute(unit: ComputeUnit): void {
    const { node, weight, bias } = unit;
    const inputs = [...node.inputs];
    for (const index of unit.activations) inputs[index] = this.floatFor(unit, index);
    for (const index of unit.constants)
      inputs[index] = this.#constant(this.storedConstant(unit, index), inputs[index] ?? '');
    if (weight !== undefined) inputs[weight.index] = this.weightInput(unit, weight);
    if (bias !== undefined) inputs[bias.index] = this.biasOf(unit);
    node.inputs = inputs;
    if (weight !== undefined && weight.factor !== 1) node.attributes.delete('alpha');
    if (bias !== undefined && bias.factor !== 1) node.attributes.delete('beta');
    const output = node.outputs[0] ?? '';
    const quantized = this.job.plan.makesCodes(node);
    const raw = quantized ? this.beside(output, 'f') : output;
    this.pushUnit(unit, raw);
    if (!quantized) return;
    const codes = this.names.fresh(`${output}_q`);
    this.pushQuantize(raw, codes, this.rootOf(output));
    this.setCodes(output, codes);
  }

  #constant(stored: StoredConstant, base: string): string {
    const known = this.#dequantized.get(stored.codes);
    if (known !== undefined) return known;
    const output = this.beside(base, 'dq');
    const attributes = stored.axis === undefined ? {} : { axis: stored.axis };
    this.push(makeNode('DequantizeLinear', [stored.codes, stored.scale, stored.zeroPoint], [output], { attributes }));
    this.#dequantized.set(stored.codes, output);
    return output;
  }

  /** The value that the node reads as its weight. */
  protected weightInput(unit: ComputeUnit, weight: UnitWeight): string {
    const stored = this.storedWeight(unit);
    const { type } = stored.planned;
    if (type !== 'int2' && type !== 'uint2') return this.#constant(stored, weight.tensor.name);
    // ONNX Runtime 1.30 fuses 2-bit codes into integer kernels that then refuse them: with the scales in a Mul of their own, it does
    // not see what to fuse.
    const base = weight.tensor.name;
    const known = this.#dequantized.get(stored.codes);
    if (known !== undefined) return known;
    const { axis, planned } = stored;
    const { scales } = planned;
    const dims = weight.tensor.dims.map((_, at) => (at === axis ? scales.length : 1));
    this.store(Tensor.float(stored.scale, scales, dims));
    const one = this.#one(axis === undefined ? 0 : scales.length);
    const [steps, output] = [this.beside(base, 'steps'), this.beside(base, 'dq')];
    const attributes = axis === undefined ? {} : { axis };
    this.push(makeNode('DequantizeLinear', [stored.codes, one, stored.zeroPoint], [steps], { attributes }));
    this.push(makeNode('Mul', [this.#beside(steps, planned.offset ?? 0), stored.scale], [output]));
    this.#dequantized.set(stored.codes, output);
    return output;
  }

  /** Steps with a part of one added. */
  #beside(steps: string, offset: number): string {
    if (offset === 0) return steps;
    this.#offset ??= this.store(Tensor.float(this.names.fresh('offset'), [offset], []));
    const output = this.names.fresh(`${steps}_beside`);
    this.push(makeNode('Add', [steps, this.#offset], [output]));
    return output;
  }

  #one(count: number): string {
    const known = this.#ones.get(count);
    if (known !== undefined) return known;
    const values = new Float32Array(Math.max(count, 1)).fill(1);
    const name = this.store(Tensor.float(this.names.fresh('one'), values, count === 0 ? [] : [count]));
    this.#ones.set(count, name);
    return name;
  }

  /** The unit's node, its inputs in place, making `output`. */
  protected pushUnit({ node }: ComputeUnit, output: string): void {
    node.outputs = [output];
    this.push(node);
  }

  /** int32, one a node even where the initializer is shared: its scale holds that of the node's own input. */
  protected biasOf(unit: ComputeUnit): string {
    const planned = this.job.weights.biasOf(unit);
    const base = unit.bias?.tensor.name ?? '';
    if (planned === undefined) return '';
    const { codes, scales } = planned;
    const scaleDims = scales.length === 1 ? [] : [scales.length];
    const names = [
      this.store(Tensor.fromArray(this.names.fresh(`${base}_q`), { type: 'int32', dims: [codes.length], data: codes })),
      this.store(Tensor.float(this.beside(base, 's'), scales, scaleDims)),
    ];
    const output = this.beside(base, 'dq');
    const attributes = scales.length === 1 ? {} : { axis: 0 };
    this.push(makeNode('DequantizeLinear', names, [output], { attributes }));
    return output;
  }
}
