import { elementCount } from '../../onnx/nd-array.ts';
import type { Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { float64Of } from './channel-affine.ts';
import type { Names, Reads, Scope, Workspace } from './scope.ts';

/** New values for one input of a node, still to be written. */
export interface Edit {
  readonly node: Node;
  readonly input: number;
  readonly values: Float64Array;
  readonly dims: readonly number[];
  /** Name for a tensor that is new or that others read too. */
  readonly name: string;
}

/** Reads weights in float64 and writes them back, so that other readers of a shared tensor keep the old values. */
export class WeightEditor {
  readonly #scope: Scope;
  readonly #workspace: Workspace;
  readonly #names: Names;
  readonly #reads: Reads;

  constructor(scope: Scope, workspace: Workspace, index: { readonly names: Names; readonly reads: Reads }) {
    this.#scope = scope;
    this.#workspace = workspace;
    this.#names = index.names;
    this.#reads = index.reads;
  }

  /** The constant at that input: its values in float64, type and dimensions; or why it cannot be edited. */
  read(node: Node, input: number): { values: Float64Array; tensor: Tensor } | string {
    const name = node.inputs[input] ?? '';
    const tensor = this.#names.constant(name);
    if (tensor === undefined) return `input ${input} ("${name}") of ${node.opType} is not a constant`;
    const values = float64Of(tensor);
    return values === undefined ? `input ${input} of ${node.opType} is ${tensor.dataType}` : { values, tensor };
  }

  /**
   * Writes all edits, or none: rounds to `dataType` first and answers with a reason when a value leaves its range.
   * A tensor that only this node reads keeps its name; otherwise the node gets a tensor of its own.
   */
  write(edits: readonly Edit[], dataType: 'float' | 'double'): string | undefined {
    const rounded = edits.map(({ values }) => (dataType === 'float' ? Float32Array.from(values) : values));
    for (const values of rounded) {
      if (!values.every((value) => Number.isFinite(value))) return `the folded weights leave the range of ${dataType}`;
    }
    edits.forEach((edit, index) => {
      const data = rounded[index];
      if (data?.length !== elementCount(edit.dims)) return;
      const { graph } = this.#scope;
      const old = edit.node.inputs[edit.input] ?? '';
      const own =
        graph.initializers.has(old) &&
        this.#reads.count(old) <= 1 &&
        !graph.outputs.some((output) => output.name === old) &&
        !graph.inputs.some((input) => input.name === old);
      const name = own ? old : this.#workspace.names.fresh(edit.name);
      graph.initializers.set(name, Tensor.fromArray(name, { type: dataType, dims: edit.dims, data }));
      graph.valueInfos.delete(name);
      while (edit.node.inputs.length <= edit.input) edit.node.inputs.push('');
      edit.node.inputs[edit.input] = name;
    });
    return undefined;
  }
}
