import type { Graph } from '../../../onnx/graph.ts';
import type { Node } from '../../../onnx/node.ts';

/** A block of a network of the zoo: the nodes whose names begin with `<name>.`. */
export interface Block {
  /** `stage2.block3`. */
  readonly name: string;
  readonly nodes: readonly Node[];
  /** The one value that it reads from outside; undefined where it reads several. */
  readonly input: string | undefined;
  /** The one value that is read outside; undefined where several are. */
  readonly output: string | undefined;
}

const BLOCK = /^(.*\bblock\d+)\./;

/** Name of the block that a node is part of; undefined where it is of none. */
export function blockOf({ name }: Node): string | undefined {
  return BLOCK.exec(name)?.[1];
}

/** The blocks of a network in graph order. */
export function blocksOf(graph: Graph): Block[] {
  const members = new Map<string, Node[]>();
  for (const node of graph.nodes) {
    const name = blockOf(node);
    if (name === undefined) continue;
    const nodes = members.get(name);
    if (nodes === undefined) members.set(name, [node]);
    else nodes.push(node);
  }
  return [...members].map(([name, nodes]) => ({ name, nodes, ...boundary(graph, nodes) }));
}

function boundary(graph: Graph, nodes: readonly Node[]): Pick<Block, 'input' | 'output'> {
  const own = new Set(nodes);
  const made = new Set(nodes.flatMap(({ outputs }) => outputs));
  const read = nodes.flatMap(({ inputs }) => inputs).filter((value) => value !== '' && !made.has(value));
  const inputs = new Set(read.filter((value) => !graph.initializers.has(value)));
  const outside = [
    ...graph.nodes.filter((node) => !own.has(node)).flatMap((node) => node.inputs),
    ...graph.outputs.map(({ name }) => name),
  ];
  const outputs = new Set(outside.filter((value) => made.has(value)));
  const only = (values: ReadonlySet<string>): string | undefined => (values.size === 1 ? [...values][0] : undefined);
  return { input: only(inputs), output: only(outputs) };
}
