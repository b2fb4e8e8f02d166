import { CompressionError } from '../../../errors.ts';
import { usesOf, type Graph } from '../../../onnx/graph.ts';
import type { GraphBuilder } from '../../../onnx/graph-builder.ts';
import type { NdArray } from '../../../onnx/nd-array.ts';
import { makeNode, type Node } from '../../../onnx/node.ts';
import { blocksOf } from './blocks.ts';
import type { LineUp } from './line-up.ts';

/** A graph input that says which part of the network is at work; ones leave it whole. */
export interface Mask {
  readonly input: string;
  readonly shape: readonly number[];
  readonly of:
    | { readonly kind: 'channels'; readonly initializer: string }
    /** Height and width of the kernel. */
    | { readonly kind: 'kernel'; readonly initializer: string }
    /** 0: the block hands on what it gets. */
    | { readonly kind: 'block'; readonly name: string };
}

/** What of a network varies in a search, beside the numbers of channels. */
export interface Varying {
  /** Initializers of convolutions. */
  readonly kernels: ReadonlySet<string>;
  readonly blocks: ReadonlySet<string>;
}

/**
 * Puts masks into a network: on the channels of every layer (through scale and bias of the normalization behind it, or its
 * own weights and bias: vectors and filters cost nothing beside activations), on the kernels and blocks that vary. With the
 * masks of a small network it computes what the small one does.
 *
 * @param b - holds a network as it is built, or with BatchNormalization in training form
 */
export function insertMasks(b: GraphBuilder, { kernels, blocks }: Varying): Mask[] {
  const masks: Mask[] = [];
  const declare = (base: string, shape: readonly number[], of: Mask['of']): string => {
    const input = b.input(`${base}.mask`, 'float', shape);
    masks.push({ input, shape, of });
    return input;
  };
  gateBlocks(b, blocks, declare);
  const added: Node[] = [];
  const product = (value: string, mask: string): string => {
    const result = b.fresh(`${value}.masked`);
    added.push(makeNode('Mul', [value, mask], [result], { name: result }));
    return result;
  };
  const normalized = normalizedLayers(b.graph);
  for (const node of [...b.graph.nodes]) {
    const [, weight = ''] = node.inputs;
    const dims = b.graph.initializers.get(weight)?.dims;
    if (dims === undefined || node.domain !== '' || !LAYERS.has(node.opType)) continue;
    const isNormalization = node.opType === 'BatchNormalization';
    const hasKernel = node.opType === 'Conv' && kernels.has(weight);
    const hasChannels = isNormalization || !normalized.has(node);
    if (hasKernel) {
      const [height = 1, width = 1] = dims.slice(2);
      const mask = declare(`${weight}.kernel`, [1, 1, height, width], { kind: 'kernel', initializer: weight });
      node.inputs[1] = product(weight, mask);
    }
    if (!hasChannels) continue;
    const [channels = 1, ...rest] = dims;
    const mask = declare(`${weight}.channels`, [channels], { kind: 'channels', initializer: weight });
    const filters = rest.length === 0 ? mask : b.fresh(`${weight}.filters`);
    if (rest.length > 0) {
      const shape = b.ints(`${weight}.filter_shape`, [channels, ...rest.map(() => 1)]);
      added.push(makeNode('Reshape', [mask, shape], [filters], { name: filters }));
    }
    node.inputs[1] = product(node.inputs[1] ?? '', filters);
    const [, , bias = ''] = node.inputs;
    if (bias !== '') node.inputs[2] = product(bias, mask);
  }
  b.graph.nodes.unshift(...added);
  return masks;
}

const LAYERS = new Set(['Conv', 'Gemm', 'BatchNormalization']);

/** Layers that nobody reads but a BatchNormalization. */
function normalizedLayers(graph: Graph): ReadonlySet<Node> {
  const uses = usesOf(graph);
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  return new Set(
    graph.nodes.filter((node) => {
      const [output = ''] = node.outputs;
      const readers = uses.get(output) ?? [];
      return (
        node.opType !== 'BatchNormalization' &&
        !outputs.has(output) &&
        readers.length === 1 &&
        readers.every((use) => use.node.opType === 'BatchNormalization' && use.inputIndex === 0)
      );
    }),
  );
}

/** output * gate + input * (1 - gate), in the place of each block's output. */
function gateBlocks(
  b: GraphBuilder,
  names: ReadonlySet<string>,
  declare: (base: string, shape: readonly number[], of: Mask['of']) => string,
): void {
  const { graph } = b;
  for (const { name, nodes, input, output } of blocksOf(graph)) {
    if (!names.has(name)) continue;
    const last = nodes.find(({ outputs }) => outputs.includes(output ?? ''));
    if (input === undefined || output === undefined || last === undefined)
      throw new CompressionError('INTERNAL', `block "${name}" has several inputs or outputs`);
    const gate = declare(name, [1], { kind: 'block', name });
    const [inner, kept, passed] = ['inner', 'kept', 'passed'].map((part) => b.fresh(`${output}.${part}`));
    if (inner === undefined || kept === undefined || passed === undefined) continue;
    for (const node of nodes) node.inputs = node.inputs.map((value) => (value === output ? inner : value));
    last.outputs = last.outputs.map((value) => (value === output ? inner : value));
    const rest = b.op('Sub', [b.array(`${name}.one`, { type: 'float', dims: [1], data: Float32Array.of(1) }), gate]);
    graph.nodes.push(
      makeNode('Mul', [inner, gate], [kept], { name: kept }),
      makeNode('Mul', [input, rest], [passed], { name: passed }),
      makeNode('Add', [kept, passed], [output], { name: `${name}.gate` }),
    );
  }
}

/** What the masks are fed for the network to be the small one. */
export function maskFeeds(masks: readonly Mask[], { dims, left }: LineUp): Record<string, NdArray> {
  return Object.fromEntries(
    masks.map(({ input, shape, of }) => [
      input,
      { type: 'float', dims: shape, data: maskOf(shape, of, { dims, left }) },
    ]),
  );
}

function maskOf(shape: readonly number[], of: Mask['of'], { dims, left }: LineUp): Float32Array {
  const count = shape.reduce((product, size) => product * size, 1);
  if (of.kind === 'block') return Float32Array.of(left.has(of.name) ? 0 : 1);
  const small = dims.get(of.initializer);
  // A layer of a block that is passed by: whatever it gives, nobody gets it.
  if (small === undefined) return new Float32Array(count).fill(1);
  if (of.kind === 'channels') return new Float32Array(count).fill(1, 0, small[0]);
  const data = new Float32Array(count);
  const [, , height = 1, width = 1] = shape;
  const [, , rows = height, columns = width] = small;
  const [top, side] = [(height - rows) / 2, (width - columns) / 2];
  for (let row = 0; row < rows; row += 1)
    data.fill(1, (top + row) * width + side, (top + row) * width + side + columns);
  return data;
}
