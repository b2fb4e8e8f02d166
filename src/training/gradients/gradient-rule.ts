import { CompressionError } from '../../errors.ts';
import type { DataType } from '../../onnx/data-type.ts';
import { describeNode, type Node } from '../../onnx/node.ts';
import type { StaticTypes } from '../static-types.ts';
import type { GradientBuilder } from './gradient-builder.ts';

/**
 * Writes the gradients at the inputs of a node, in their order; undefined where there is none (integers, indices) or
 * where `node.needs` says that nobody asks. Each has the shape and element type of its input.
 */
export type GradientRule = (node: ForwardNode, b: GradientBuilder) => readonly (string | undefined)[];

/** A node of the forward graph as its rule sees it: its values, their shapes, and the gradients at its outputs. */
export class ForwardNode {
  readonly node: Node;
  readonly #types: StaticTypes;
  readonly #outputGradients: readonly (string | undefined)[];
  readonly #isNeeded: (inputName: string) => boolean;

  constructor(fields: {
    node: Node;
    types: StaticTypes;
    outputGradients: readonly (string | undefined)[];
    isNeeded: (inputName: string) => boolean;
  }) {
    this.node = fields.node;
    this.#types = fields.types;
    this.#outputGradients = fields.outputGradients;
    this.#isNeeded = fields.isNeeded;
  }

  /** True when the (optional) input is given. */
  has(index: number): boolean {
    return (this.node.inputs[index] ?? '') !== '';
  }

  /** Whether the loss is to be differentiated with respect to something behind this input. */
  needs(index: number): boolean {
    const name = this.node.inputs[index] ?? '';
    return name !== '' && this.#isNeeded(name);
  }

  /** Name of an input. @throws CompressionError MODEL_INVALID when it is absent */
  input(index: number): string {
    const name = this.node.inputs[index] ?? '';
    if (name === '') throw new CompressionError('MODEL_INVALID', `${describeNode(this.node)} has no input ${index}`);
    return name;
  }

  output(index = 0): string {
    const name = this.node.outputs[index] ?? '';
    if (name === '') throw new CompressionError('MODEL_INVALID', `${describeNode(this.node)} has no output ${index}`);
    return name;
  }

  /** dY: the gradient at an output. @throws CompressionError INTERNAL when the loss does not depend on it */
  gradient(index = 0): string {
    const gradient = this.#outputGradients[index];
    if (gradient === undefined) {
      throw this.unsupported(`the loss does not depend on its output ${index} but on another one`);
    }
    return gradient;
  }

  hasGradient(index: number): boolean {
    return this.#outputGradients[index] !== undefined;
  }

  inputShape(index: number): readonly number[] {
    return this.#types.shape(this.input(index));
  }

  outputShape(index = 0): readonly number[] {
    return this.#types.shape(this.output(index));
  }

  /** Element type of the first output. */
  get elementType(): DataType {
    return this.#types.elementType(this.output()) ?? 'float';
  }

  /** A small integer or float input whose elements are fixed. @throws CompressionError TRAIN_NO_GRADIENT when not */
  constant(index: number): readonly number[] {
    const values = this.#types.constant(this.input(index));
    if (values === undefined) throw this.unsupported(`its input ${index} is not a constant`);
    return values;
  }

  /** Integers from an attribute or, in newer opsets, an input; undefined when neither is given. */
  ints(attribute: string, inputIndex: number): readonly number[] | undefined {
    return this.node.ints(attribute) ?? (this.has(inputIndex) ? this.constant(inputIndex) : undefined);
  }

  /** `axis` counted from the front, for the shape of the first input. */
  axis(axis: number, rank = this.inputShape(0).length): number {
    return axis < 0 ? axis + rank : axis;
  }

  unsupported(why: string): CompressionError {
    return new CompressionError(
      'TRAIN_NO_GRADIENT',
      `${describeNode(this.node)} cannot be trained through: ${why}; freeze the layers before it, or exclude it`,
    );
  }
}
