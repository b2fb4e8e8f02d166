import { CompressionError } from '../errors.ts';
import { outerNames, type Graph } from '../onnx/graph.ts';
import type { GraphBuilder } from '../onnx/graph-builder.ts';
import { describeNode, type Node } from '../onnx/node.ts';
import { GradientBuilder } from './gradients/gradient-builder.ts';
import { ForwardNode, type GradientRule } from './gradients/gradient-rule.ts';
import { GRADIENT_RULES } from './gradients/rules.ts';
import type { StaticTypes } from './static-types.ts';

/** Where the backward pass starts: d loss / d `of`, in the shape of `of`. */
export interface GradientSeed {
  readonly of: string;
  readonly gradient: string;
}

export interface DifferentiateOptions {
  /** Name of a scalar of the graph, whose gradient is 1; or gradients at several values (a value may stand there twice). */
  readonly loss: string | readonly GradientSeed[];
  /** Values to differentiate by: graph inputs, initializers or inner values. */
  readonly wrt: readonly string[];
  /** Types of the graph's values. Rules that add nodes need not care: appended nodes are followed. */
  readonly types: StaticTypes;
  /** Rules by `domain:opType`; default: those of the project. A caller may add or replace some (a surrogate gradient, say). */
  readonly rules?: ReadonlyMap<string, GradientRule>;
}

/**
 * Reverse-mode differentiation: appends to the graph of `builder` the nodes that compute d loss / d value for each value
 * of `wrt`. The graph is topologically sorted, of opset 21, with every size fixed; it then also needs `com.microsoft` 1
 * among its opset imports. Forward nodes may get optional outputs that their gradient reads (Indices of MaxPool, say).
 *
 * @returns the gradient's name by value, in the order of `wrt`; a value that the loss does not depend on is absent
 * @throws CompressionError TRAIN_NO_GRADIENT naming a node on a path from `wrt` to the loss that has no rule;
 *   MODEL_UNSUPPORTED when a size is not fixed
 * @see Griewank & Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.2 (reverse mode)
 */
export function differentiate(builder: GraphBuilder, options: DifferentiateOptions): Map<string, string> {
  const { loss, wrt, types, rules = GRADIENT_RULES } = options;
  const b = new GradientBuilder(builder, types);
  const forward = [...builder.graph.nodes];
  const needed = valuesBehind(forward, wrt, types);
  const contributions = new Map<string, string[]>();
  const contribute = (value: string, gradient: string): void => {
    const list = contributions.get(value);
    if (list === undefined) contributions.set(value, [gradient]);
    else list.push(gradient);
  };
  /** The gradient at a value, complete once every node that reads the value has been visited. */
  const total = (value: string): string | undefined => {
    const terms = contributions.get(value);
    if (terms === undefined) return undefined;
    const [first, second, ...rest] = terms;
    if (second === undefined) return first;
    b.prefix = value;
    const sum = b.op(rest.length === 0 ? 'Add' : 'Sum', terms);
    contributions.set(value, [sum]);
    return sum;
  };

  for (const { of, gradient } of seedsOf(loss, b)) contribute(of, gradient);
  for (const node of forward.toReversed()) {
    if (!node.outputs.some((output) => needed.has(output) && contributions.has(output))) continue;
    const outputGradients = node.outputs.map((output) => (needed.has(output) ? total(output) : undefined));
    if (!node.inputs.some((input) => needed.has(input))) {
      if (readsOutside(node, needed)) throw noRule(node);
      continue;
    }
    const rule = rules.get(`${node.domain}:${node.opType}`);
    if (rule === undefined) throw noRule(node);
    b.prefix = node.name === '' ? node.opType.toLowerCase() : node.name;
    const isNeeded = (name: string): boolean => needed.has(name);
    const gradients = rule(new ForwardNode({ node, types, outputGradients, isNeeded }), b);
    node.inputs.forEach((input, index) => {
      const gradient = gradients[index];
      if (gradient !== undefined && needed.has(input)) contribute(input, gradient);
    });
  }

  const result = new Map<string, string>();
  for (const value of wrt) {
    const gradient = total(value);
    if (gradient !== undefined) result.set(value, gradient);
  }
  return result;
}

/**
 * The values that depend on `wrt`, those themselves included. Integers and booleans carry no gradient, except quantized
 * values on their way from QuantizeLinear to DequantizeLinear. A value of unknown type may carry one: its node then
 * needs a rule, and the error names it.
 */
function valuesBehind(nodes: readonly Node[], wrt: readonly string[], types: StaticTypes): ReadonlySet<string> {
  const values = new Set(wrt);
  for (const node of nodes) {
    if (!node.inputs.some((input) => values.has(input)) && !readsOutside(node, values)) continue;
    const [first = ''] = node.inputs;
    const isQuantized = (output: string): boolean =>
      node.opType === 'QuantizeLinear' || (values.has(first) && types.elementType(output) === types.elementType(first));
    for (const output of node.outputs) {
      if (output === '') continue;
      if (types.elementType(output) === undefined || types.isFloat(output) || isQuantized(output)) values.add(output);
    }
  }
  return values;
}

function readsOutside(node: Node, values: ReadonlySet<string>): boolean {
  return node.subgraphs().some((graph: Graph) => [...outerNames(graph)].some((name) => values.has(name)));
}

function seedsOf(loss: string | readonly GradientSeed[], b: GradientBuilder): readonly GradientSeed[] {
  if (typeof loss !== 'string') return loss;
  const shape = b.shape(loss);
  if (shape.some((size) => size !== 1)) {
    throw new CompressionError('INTERNAL', `the loss "${loss}" is [${shape.join(', ')}], expected a scalar`);
  }
  return [{ of: loss, gradient: b.constant([1], shape, loss) }];
}

function noRule(node: Node): CompressionError {
  return new CompressionError(
    'TRAIN_NO_GRADIENT',
    `${describeNode(node)} has no gradient rule, so nothing before it can be trained; freeze the layers before it, exclude it, or export the model with other operators`,
  );
}
