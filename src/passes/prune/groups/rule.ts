import type { Use } from '../../../onnx/graph.ts';
import type { Model } from '../../../onnx/model.ts';
import { describeNode, type Node } from '../../../onnx/node.ts';
import type { Dimension, Shape } from '../../../onnx/value-type.ts';
import { coupleAxes, fixedAxis, freezeAxis, pick, type Axes, type Axis } from './axis.ts';
import type { Balance } from './balance.ts';
import type { ChannelAtoms } from './channel-atoms.ts';
import type { Surgery } from './surgery.ts';

/**
 * How channels pass through one operator: couples the axes of its inputs and outputs, and says what else of the node
 * changes when channels go (attributes, shape constants). Weights need no word: each axis of an initializer is followed
 * like any other. A rule that returns a reason freezes all inputs and leaves the outputs fixed.
 */
export type ChannelRule = (of: RuleContext) => string | undefined;

/** Changes a node after channels were chosen; the initializers it reads are cut by then. */
export type Rewrite = (surgery: Surgery) => void;

/** What rules share of one run of the analysis. */
export interface RuleSurroundings {
  readonly model: Model;
  readonly atoms: ChannelAtoms;
  axesOf(value: string): Axes | undefined;
  shapeOf(value: string): Shape | undefined;
  constantOf(value: string): readonly number[] | undefined;
  usesOf(value: string): readonly Use[];
  isGraphOutput(value: string): boolean;
  setAxes(value: string, axes: Axes): void;
  addRewrite(rewrite: Rewrite): void;
  addBalance(balance: Balance): void;
  /** Nodes whose outputs another node's rule has set already. */
  readonly handled: Set<Node>;
}

/** What a rule sees of its node. */
export class RuleContext {
  readonly node: Node;
  readonly opset: number;
  readonly around: RuleSurroundings;

  constructor(node: Node, opset: number, around: RuleSurroundings) {
    this.node = node;
    this.opset = opset;
    this.around = around;
  }

  /** The node in words. */
  get name(): string {
    return describeNode(this.node);
  }

  has(index: number): boolean {
    return (this.node.inputs[index] ?? '') !== '';
  }

  /** Axes of an input; undefined when it is absent or its rank is unknown. */
  input(index: number): Axes | undefined {
    const name = this.node.inputs[index] ?? '';
    return name === '' ? undefined : this.around.axesOf(name);
  }

  shape(index: number): Shape | undefined {
    return this.around.shapeOf(this.node.inputs[index] ?? '');
  }

  outputShape(index = 0): Shape | undefined {
    return this.around.shapeOf(this.node.outputs[index] ?? '');
  }

  /** The size of an input's axis where it is a number. */
  size(index: number, axis: number): number | undefined {
    return fixedSize(this.shape(index)?.[axis]);
  }

  /** Elements of a small constant input. */
  constant(index: number): readonly number[] | undefined {
    return this.has(index) ? this.around.constantOf(this.node.inputs[index] ?? '') : undefined;
  }

  couple(a: Axis | undefined, b: Axis | undefined): Axis {
    if (a === undefined || b === undefined) return a ?? b ?? fixedAxis(`${this.name} has no such axis`);
    return coupleAxes(a, b, this.around.atoms);
  }

  freeze(axes: Axis | Axes | undefined, reason: string): void {
    const text = `${this.name} ${reason}`;
    for (const axis of axes === undefined ? [] : [axes].flat()) freezeAxis(axis, text, this.around.atoms);
  }

  /** Makes equal parts of the axis, one a group, lose as many positions each. */
  balance(axis: Axis, groups: number): void {
    if (axis.kind === 'fixed') return;
    const reason = `${this.name} needs groups of equal size, and these channels have no counterpart in the others`;
    this.around.addBalance({ atoms: axis.atoms, parts: groups, reason });
  }

  /** Positions of an axis as an axis of an output. One position alone is not followed further, so it has to stay. */
  take(axis: Axis, range: { readonly from: number; readonly count: number; readonly step?: number }): Axis {
    const taken = pick(axis, range);
    if (axis.kind === 'channels' && taken.kind === 'fixed' && range.count === 1) {
      this.around.atoms.freeze(axis.atoms[range.from] ?? 0, `${this.name} takes it alone`);
    }
    return taken;
  }

  /** An axis of an output that stays as it is. */
  fixed(reason: string): Axis {
    return fixedAxis(`${this.name} ${reason}`);
  }

  output(index: number, axes: Axes): void {
    const name = this.node.outputs[index] ?? '';
    if (name !== '') this.around.setAxes(name, axes);
  }

  rewrite(rewrite: Rewrite): void {
    this.around.addRewrite(rewrite);
  }

  /** `axis` from the front; undefined when it is none of a value of this rank. */
  axis(axis: number, rank: number): number | undefined {
    const at = axis < 0 ? axis + rank : axis;
    return at >= 0 && at < rank ? at : undefined;
  }

  /** Integers from an attribute or, in newer opsets, from an input; undefined when they are not known. */
  integers(attribute: string, input: number): readonly number[] | 'absent' | undefined {
    const given = this.node.ints(attribute);
    if (given !== undefined) return given;
    return this.has(input) ? this.constant(input) : 'absent';
  }
}

export function fixedSize(size: Dimension | undefined): number | undefined {
  return typeof size === 'number' ? size : undefined;
}
