import { withSubgraphs } from '../../onnx/graph.ts';
import { opsetOf, type Model } from '../../onnx/model.ts';
import { makeNode, type Attribute } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { CodeWriter, type StoredConstant } from './code-writer.ts';
import type { ComputeUnit } from './units.ts';

/** Domain of the integer operators that ONNX itself does not have. */
const MICROSOFT = 'com.microsoft';

/**
 * Writes compute units as integer operators: QLinearConv and QLinearMatMul of ONNX, QGemm, QLinearAdd and the like of
 * `com.microsoft`. A MatMul whose result nobody reads as codes becomes MatMulIntegerToFloat.
 */
export class QOperatorWriter extends CodeWriter {
  protected override readonly readsFloats = false;

  protected override writeCompute(unit: ComputeUnit): void {
    const { node } = unit;
    const output = node.outputs[0] ?? '';
    const quantized = this.job.plan.makesCodes(node);
    const made = quantized ? this.names.fresh(`${output}_q`) : output;
    const result = quantized ? this.#paramInputs(output) : undefined;
    switch (node.opType) {
      case 'Conv':
        this.#push(
          unit,
          operator('QLinearConv', ''),
          [...this.#x(unit), ...this.#w(unit), ...(result ?? []), this.#bias(unit)],
          made,
        );
        break;
      case 'Gemm':
        this.#push(
          unit,
          operator('QGemm', MICROSOFT),
          [...this.#x(unit), ...this.#w(unit), this.#bias(unit), ...(result ?? [])],
          made,
        );
        break;
      case 'MatMul':
        this.#matMul(unit, result, made);
        break;
      case 'Concat':
        this.#push(
          unit,
          operator('QLinearConcat', MICROSOFT),
          [...(result ?? []), ...node.inputs.flatMap((_, i) => this.#operand(unit, i))],
          made,
        );
        break;
      default: {
        const count = unit.activations.length + unit.constants.length;
        const operands = Array.from({ length: count }, (_, index) => this.#operand(unit, index)).flat();
        this.#push(unit, operator(`QLinear${node.opType}`, MICROSOFT), [...operands, ...(result ?? [])], made);
      }
    }
    if (quantized) this.setCodes(output, made);
  }

  #matMul(unit: ComputeUnit, result: readonly string[] | undefined, made: string): void {
    const [a, b] = [this.#operand(unit, 0), this.#operand(unit, 1)];
    if (result !== undefined) {
      this.#push(unit, operator('QLinearMatMul', ''), [...a, ...b, ...result], made);
      return;
    }
    const [aCodes = '', aScale = '', aZero = ''] = a;
    const [bCodes = '', bScale = '', bZero = ''] = b;
    this.#push(unit, operator('MatMulIntegerToFloat', MICROSOFT), [aCodes, bCodes, aScale, bScale, aZero, bZero], made);
  }

  /** Codes, scale and zero point of an input, whatever its part in the unit. */
  #operand(unit: ComputeUnit, index: number): string[] {
    if (unit.weight?.index === index) return this.#w(unit);
    const name = unit.node.inputs[index] ?? '';
    if (unit.constants.includes(index)) return inputsOf(this.storedConstant(unit, index));
    return [this.codesOf(name), ...this.#paramInputs(name)];
  }

  #x(unit: ComputeUnit): string[] {
    return this.#operand(unit, 0);
  }

  #w(unit: ComputeUnit): string[] {
    return inputsOf(this.storedWeight(unit));
  }

  #paramInputs(value: string): string[] {
    const { scale, zeroPoint } = this.storedParams(this.rootOf(value));
    return [scale, zeroPoint];
  }

  /** int32; its scale is that of the products, so only the codes are stored. */
  #bias(unit: ComputeUnit): string {
    const planned = this.job.weights.biasOf(unit);
    if (planned === undefined) return '';
    const name = this.names.fresh(`${unit.bias?.tensor.name ?? 'bias'}_q`);
    const channels = unit.bias?.channels ?? 1;
    const data =
      planned.codes.length === channels ? planned.codes : new Int32Array(channels).fill(planned.codes[0] ?? 0);
    return this.store(Tensor.fromArray(name, { type: 'int32', dims: [channels], data }));
  }

  #push(unit: ComputeUnit, { opType, domain }: Operator, inputs: readonly string[], output: string): void {
    const { node } = unit;
    const used = [...inputs];
    while (used.at(-1) === '') used.pop();
    const attributes = new Map<string, Attribute>(node.attributes);
    // alpha and beta are in the codes of weight and bias by now.
    if (node.opType === 'Gemm') ['alpha', 'beta'].forEach((name) => attributes.delete(name));
    if (node.opType === 'Softmax') attributes.set('opset', { kind: 'int', value: BigInt(opsetOf(this.job.model)) });
    const made = makeNode(opType, used, [output], { name: node.name, domain });
    made.attributes = attributes;
    this.push(made);
  }
}

interface Operator {
  readonly opType: string;
  readonly domain: string;
}

function operator(opType: string, domain: string): Operator {
  return { opType, domain };
}

function inputsOf({ codes, scale, zeroPoint }: StoredConstant): string[] {
  return [codes, scale, zeroPoint];
}

/** Imports `com.microsoft` where a node needs it. */
export function importMicrosoft(model: Model): void {
  if (model.opsetImports.has(MICROSOFT)) return;
  for (const graph of withSubgraphs(model.graph)) {
    if (graph.nodes.some((node) => node.domain === MICROSOFT)) model.opsetImports.set(MICROSOFT, 1);
  }
}
