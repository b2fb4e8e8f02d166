import { NameScope, type Graph } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { attributeOf, type AttributeInit, type Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';
import type { Axis } from './axis.ts';
import type { ChannelAtoms } from './channel-atoms.ts';

/** Which channels stay, and the means to change a graph accordingly. */
export class Surgery {
  readonly graph: Graph;
  readonly #atoms: ChannelAtoms;
  /** By root atom: 1 where the channel goes. */
  readonly #removed: Uint8Array;
  readonly #names: NameScope;
  readonly #dropped = new Set<Node>();
  readonly #positions = new Map<Int32Array, readonly number[]>();

  constructor(model: Model, atoms: ChannelAtoms, removed: Uint8Array) {
    this.graph = model.graph;
    this.#atoms = atoms;
    this.#removed = removed;
    this.#names = new NameScope(model.graph);
  }

  isRemoved(atom: number): boolean {
    return this.#removed[this.#atoms.root(atom)] === 1;
  }

  /** The positions of the axis that stay, in order. */
  kept(axis: { readonly atoms: Int32Array }): readonly number[] {
    const known = this.#positions.get(axis.atoms);
    if (known !== undefined) return known;
    const positions: number[] = [];
    const { atoms } = axis;
    for (let i = 0; i < atoms.length; i += 1) if (!this.isRemoved(atoms[i] ?? 0)) positions.push(i);
    this.#positions.set(atoms, positions);
    return positions;
  }

  /** True when the axis loses a position. */
  changes(axis: Axis | undefined): axis is Extract<Axis, { kind: 'channels' }> {
    return axis?.kind === 'channels' && this.kept(axis).length < axis.atoms.length;
  }

  /** The new size of an axis that had `size` positions. */
  size(axis: Axis | undefined, size: number): number {
    return axis?.kind === 'channels' ? this.kept(axis).length : size;
  }

  /** Gives the node an int64 constant of its own in the place of an input; the old one may have other readers. */
  setInts(node: Node, input: number, values: readonly number[], what: string): void {
    const name = this.#names.fresh(`${node.outputs[0] ?? node.opType}_${what}`);
    this.graph.initializers.set(name, Tensor.int64(name, values));
    while (node.inputs.length <= input) node.inputs.push('');
    node.inputs[input] = name;
  }

  setAttribute(node: Node, name: string, value: AttributeInit): void {
    node.attributes.set(name, attributeOf(value));
  }

  /** Takes the node out of the graph when all rewrites are done. */
  drop(node: Node): void {
    this.#dropped.add(node);
  }

  finish(): void {
    if (this.#dropped.size > 0) this.graph.nodes = this.graph.nodes.filter((node) => !this.#dropped.has(node));
  }
}
