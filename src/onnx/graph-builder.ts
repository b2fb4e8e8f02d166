import { CompressionError } from '../errors.ts';
import type { DataType } from './data-type.ts';
import { Graph, NameScope } from './graph.ts';
import { Model } from './model.ts';
import type { NdArray } from './nd-array.ts';
import { makeNode, type AttributeInit } from './node.ts';
import { Tensor } from './tensor.ts';
import { tensorValue, type Shape } from './value-type.ts';

export interface OpOptions {
  readonly attributes?: Readonly<Record<string, AttributeInit>>;
  readonly domain?: string;
  /** Name of the node, and base of its outputs' names; default: the operator's name in lower case. Made unique. */
  readonly name?: string;
}

/**
 * Writes nodes into a graph, new or given, in order of use. Every value gets a fresh name that says where it comes from;
 * the same calls give the same names.
 */
export class GraphBuilder {
  readonly graph: Graph;
  readonly #names: NameScope;

  constructor(graph: Graph | string) {
    this.graph = typeof graph === 'string' ? new Graph({ name: graph }) : graph;
    this.#names = new NameScope(this.graph);
  }

  /** A name nobody has yet: `base`, or with a number behind it. */
  fresh(base: string): string {
    return this.#names.fresh(base);
  }

  input(name: string, type: DataType, shape: Shape): string {
    const unique = this.fresh(name);
    this.graph.inputs.push(tensorValue(unique, type, shape));
    return unique;
  }

  /** Adds the tensor under its name, or under a fresh one like it. */
  initializer(tensor: Tensor): string {
    const name = this.fresh(tensor.name);
    this.graph.initializers.set(name, name === tensor.name ? tensor : tensor.renamed(name));
    return name;
  }

  array(name: string, array: NdArray): string {
    return this.initializer(Tensor.fromArray(name, array));
  }

  /** A float scalar. */
  float(name: string, value: number): string {
    return this.initializer(Tensor.float(name, [value], []));
  }

  /** An int64 vector, as axes, shapes and pads are given. */
  ints(name: string, values: readonly number[]): string {
    return this.initializer(Tensor.int64(name, values));
  }

  /** One node with one output. An absent optional input is `''`. */
  op(opType: string, inputs: readonly string[], options: OpOptions = {}): string {
    const [output] = this.ops(opType, inputs, 1, options);
    if (output === undefined) throw new CompressionError('INTERNAL', `${opType} has no output`);
    return output;
  }

  /** One node with `count` outputs. */
  ops(opType: string, inputs: readonly string[], count: number, options: OpOptions = {}): string[] {
    const name = this.fresh(options.name ?? opType.toLowerCase());
    const outputs = Array.from({ length: count }, (_, index) =>
      this.fresh(count === 1 ? `${name}_output` : `${name}_output_${index}`),
    );
    this.graph.nodes.push(
      makeNode(opType, inputs, outputs, {
        name,
        ...(options.attributes === undefined ? {} : { attributes: options.attributes }),
        ...(options.domain === undefined ? {} : { domain: options.domain }),
      }),
    );
    return outputs;
  }

  /** Makes `value` a graph output under `name`, through an Identity where the names differ. */
  output(value: string, name: string, type: DataType, shape: Shape): void {
    if (value !== name) {
      const unique = this.fresh(name);
      if (unique !== name) throw new CompressionError('INTERNAL', `the graph already has a value "${name}"`);
      this.graph.nodes.push(makeNode('Identity', [value], [name], { name: this.fresh(`${name}_identity`) }));
    }
    this.graph.outputs.push(tensorValue(name, type, shape));
  }

  /** @param opset - of the default domain; further domains in `domains` */
  model(opset: number, domains: Readonly<Record<string, number>> = {}): Model {
    const opsetImports = new Map([['', opset], ...Object.entries(domains)]);
    return new Model({ graph: this.graph, opsetImports, irVersion: opset >= 21 ? 10 : 8, producerName: 'tersor' });
  }
}
