import { CompressionError, messageOf } from '../../errors.ts';
import { byteLengthOf, isFloatType, type DataType } from '../../onnx/data-type.ts';
import { Graph, outerNames } from '../../onnx/graph.ts';
import { Model } from '../../onnx/model.ts';
import { elementCount, type NdArray } from '../../onnx/nd-array.ts';
import { describeNode, type Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { tensorValue } from '../../onnx/value-type.ts';
import type { PassContext, Skipped } from '../pass.ts';
import { FOLDABLE_OPERATORS, foldingWork } from './foldable-operators.ts';
import { Names, Reads, type Scope, type Workspace } from './scope.ts';

export interface FoldLimits {
  /** Largest value that folding may add to the file; what replaces initializers of at least its size may be larger. */
  readonly valueBytes: number;
}

/** All values of a graph together may add this many times the limit of one. */
const TOTAL_FACTOR = 16;
/** When all of it would be too much, values up to here are still folded: shapes, indices, scalars. */
const SMALL_BYTES = 64 * 1024;
/** Elementary steps for one node, and for all: a second or so of one core. */
const WORK_LIMIT = 2 ** 28;
const TOTAL_WORK_LIMIT = 2 ** 30;
/** From here on, a Cast that makes a stored tensor wider counts as a compression that is meant to stay. */
const STORED_WEIGHT_BYTES = 1024;

/** Types that a session can hand out. */
const FETCHABLE: ReadonlySet<DataType> = new Set<DataType>([
  'float',
  'double',
  'float16',
  'int8',
  'uint8',
  'int16',
  'uint16',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'bool',
]);

interface Cluster {
  readonly nodes: readonly Node[];
  readonly refused: readonly Skipped[];
  /** Bytes by which the constants grow, at the worst moment while the nodes run in order. */
  readonly peakGrowth: number;
  readonly work: number;
}

/**
 * Replaces nodes that read only constants by what they compute. Integers that type inference already knows (sizes and
 * what is made from them) are taken from there; everything else is run once, as one model, in ONNX Runtime, so that the
 * values are the ones its kernels give. No node runs before the size of its result is known and within the limits, so
 * that a few bytes cannot unfold into gigabytes. Which nodes are folded depends on the graph alone: a second run folds
 * none.
 */
export async function foldConstants(
  scope: Scope,
  workspace: Workspace,
  context: Pick<PassContext, 'runtime' | 'threads'>,
  { limits, skipped }: { readonly limits: FoldLimits; readonly skipped: Skipped[] },
): Promise<number> {
  const known = foldKnownIntegers(scope, workspace);
  const finder = new ClusterFinder(scope, workspace);
  const total = limits.valueBytes * TOTAL_FACTOR;
  const cluster = [limits.valueBytes, Math.min(SMALL_BYTES, limits.valueBytes), 0]
    .map((bytes) => finder.find(bytes))
    .find(({ peakGrowth, work }) => peakGrowth <= total && work <= TOTAL_WORK_LIMIT);
  if (cluster === undefined) {
    skipped.push({ node: scope.graph.name, reason: 'folding its constants would take too much work' });
    return known;
  }
  skipped.push(...cluster.refused);
  if (cluster.nodes.length === 0) return known;
  try {
    return known + (await evaluate(cluster.nodes, scope, workspace, context));
  } catch (error) {
    if (!(error instanceof CompressionError) || !['MODEL_LOAD', 'MODEL_RUN'].includes(error.code)) throw error;
  }
  // Some node does not run; the others shall not suffer for it.
  let folded = 0;
  for (const node of cluster.nodes) {
    if (!finder.isReady(node)) continue;
    try {
      folded += await evaluate([node], scope, workspace, context);
    } catch (error) {
      if (!(error instanceof CompressionError) || !['MODEL_LOAD', 'MODEL_RUN'].includes(error.code)) throw error;
      skipped.push({ node: describeNode(node), reason: `its constant result cannot be computed: ${messageOf(error)}` });
    }
  }
  return known + folded;
}

/** Sizes and integers computed from them, as far as type inference knows them. */
function foldKnownIntegers(scope: Scope, workspace: Workspace): number {
  const { graph } = scope;
  const outputs = new Set(graph.outputs.map((output) => output.name));
  const before = graph.nodes.length;
  graph.nodes = graph.nodes.filter((node) => {
    const [name, ...others] = node.outputs;
    if (name === undefined || outputs.has(name) || others.some((other) => other !== '')) return true;
    if (node.domain !== '' || !FOLDABLE_OPERATORS.has(node.opType)) return true;
    const type = workspace.typeOf(scope, name);
    const values = workspace.integersOf(scope, name);
    if (values === undefined || type?.kind !== 'tensor' || type.shape === undefined) return true;
    const dims = type.shape.filter((dim) => typeof dim === 'number');
    if (dims.length !== type.shape.length || elementCount(dims) !== values.length) return true;
    const array = integerArray(type.elementType, dims, values);
    if (array === undefined) return true;
    graph.initializers.set(name, Tensor.fromArray(name, array));
    graph.valueInfos.delete(name);
    return false;
  });
  return before - graph.nodes.length;
}

function integerArray(type: DataType, dims: readonly number[], values: readonly number[]): NdArray | undefined {
  if (!values.every((value) => Number.isSafeInteger(value))) return undefined;
  if (type === 'int64') return { type, dims, data: BigInt64Array.from(values, BigInt) };
  return type === 'int32' ? { type, dims, data: Int32Array.from(values) } : undefined;
}

/** Finds the nodes that can be folded together. */
class ClusterFinder {
  readonly #scope: Scope;
  readonly #workspace: Workspace;
  readonly #names: Names;
  readonly #reads: Reads;
  readonly #outputs: ReadonlySet<string>;

  constructor(scope: Scope, workspace: Workspace) {
    this.#scope = scope;
    this.#workspace = workspace;
    this.#names = new Names(scope, workspace.overridable);
    this.#reads = new Reads(scope.graph);
    this.#outputs = new Set(scope.graph.outputs.map((output) => output.name));
  }

  /** Whether the node's inputs are constants now. */
  isReady(node: Node): boolean {
    return node.inputs.every(
      (name) => name === '' || this.#scope.graph.initializers.has(name) || this.#names.constant(name) !== undefined,
    );
  }

  find(valueBytes: number): Cluster {
    const nodes: Node[] = [];
    const refused: Skipped[] = [];
    const made = new Map<string, { readonly type: DataType; readonly dims: readonly number[] }>();
    let growth = 0;
    let peakGrowth = 0;
    let work = 0;
    for (const node of this.#scope.graph.nodes) {
      if (node.domain !== '' || !FOLDABLE_OPERATORS.has(node.opType)) continue;
      if (node.outputs.some((name) => this.#outputs.has(name) || this.#reads.isReturned(name))) continue;
      const inputs = this.#inputsOf(node, made);
      if (inputs === undefined || !this.#dividesSafely(node)) continue;
      const outputs = this.#outputsOf(node);
      if (typeof outputs === 'string') {
        refused.push({ node: describeNode(node), reason: outputs });
        continue;
      }
      const bytes = outputs.reduce((sum, { type, dims }) => sum + byteLengthOf(type, elementCount(dims)), 0);
      const freed = inputs.reduce((sum, input) => sum + input.freedBytes, 0);
      const steps = foldingWork(
        node,
        inputs.map(({ dims }) => dims),
        outputs.reduce((sum, { dims }) => sum + elementCount(dims), 0),
      );
      const reason = refusal(node, { bytes, freed, valueBytes, steps, inputs });
      if (reason !== undefined) {
        refused.push({ node: describeNode(node), reason });
        continue;
      }
      for (const { name, type, dims } of outputs) made.set(name, { type, dims });
      nodes.push(node);
      growth += bytes - freed;
      peakGrowth = Math.max(peakGrowth, growth);
      work += steps;
    }
    return { nodes, refused, peakGrowth, work };
  }

  /** Types of the inputs when all of them are constants or made by the cluster; undefined otherwise. */
  #inputsOf(node: Node, made: ReadonlyMap<string, { readonly type: DataType; readonly dims: readonly number[] }>) {
    const inputs: { type: DataType; dims: readonly number[]; freedBytes: number; bytes: number }[] = [];
    for (const name of node.inputs) {
      if (name === '') continue;
      const value = made.get(name) ?? typed(this.#names.constant(name));
      if (value === undefined) return undefined;
      const own = made.has(name) || this.#scope.graph.initializers.has(name);
      const bytes = byteLengthOf(value.type, elementCount(value.dims));
      const dies = own && this.#reads.count(name) === 1 && !this.#outputs.has(name);
      inputs.push({ ...value, bytes, freedBytes: dies ? bytes : 0 });
    }
    return inputs;
  }

  /** An integer division by zero ends the process. A divisor that is computed here is looked at in the next round. */
  #dividesSafely(node: Node): boolean {
    if (node.opType !== 'Div' && node.opType !== 'Mod') return true;
    const type = this.#workspace.typeOf(this.#scope, node.outputs[0] ?? '');
    if (type?.kind === 'tensor' && isFloatType(type.elementType)) return true;
    const divisor = this.#names.constant(node.inputs[1])?.toArray();
    return divisor !== undefined && divisor.type !== 'string' && !divisor.data.some((value) => Number(value) === 0);
  }

  #outputsOf(node: Node): { name: string; type: DataType; dims: readonly number[] }[] | string {
    const outputs: { name: string; type: DataType; dims: readonly number[] }[] = [];
    for (const name of node.outputs) {
      if (name === '') continue;
      const type = this.#workspace.typeOf(this.#scope, name);
      if (type?.kind !== 'tensor' || type.shape === undefined) return 'the size of its constant result is not known';
      const dims = type.shape.filter((dim) => typeof dim === 'number');
      if (dims.length !== type.shape.length) return 'the size of its constant result is not known';
      if (!FETCHABLE.has(type.elementType)) return `its constant result is ${type.elementType}`;
      outputs.push({ name, type: type.elementType, dims });
    }
    return outputs;
  }
}

function typed(tensor: Tensor | undefined): { type: DataType; dims: readonly number[] } | undefined {
  return tensor === undefined || tensor.dataType === 'string'
    ? undefined
    : { type: tensor.dataType, dims: tensor.dims };
}

function refusal(
  node: Node,
  cost: {
    readonly bytes: number;
    readonly freed: number;
    readonly valueBytes: number;
    readonly steps: number;
    readonly inputs: readonly { readonly bytes: number }[];
  },
): string | undefined {
  const { bytes, freed, valueBytes, steps, inputs } = cost;
  if (bytes > freed && bytes > valueBytes) {
    return `its constant result takes ${bytes} bytes, ${bytes - freed} more than what it is made from (limit ${valueBytes})`;
  }
  if (steps > WORK_LIMIT) return `its constant result takes about ${steps} steps to compute (limit ${WORK_LIMIT})`;
  const stored = inputs[0]?.bytes ?? 0;
  if (node.opType === 'Cast' && stored >= STORED_WEIGHT_BYTES && bytes > stored) {
    return 'its input is stored in fewer bits; folding would undo that';
  }
  return undefined;
}

/** Runs the nodes as a model of their own and puts initializers in their place. */
async function evaluate(
  nodes: readonly Node[],
  scope: Scope,
  workspace: Workspace,
  { runtime, threads }: Pick<PassContext, 'runtime' | 'threads'>,
): Promise<number> {
  const { graph } = scope;
  const inside = new Set(nodes);
  const names = new Names(scope, workspace.overridable);
  const made = new Set(nodes.flatMap((node) => node.outputs));
  const initializers = new Map<string, Tensor>();
  for (const name of nodes.flatMap((node) => node.inputs)) {
    const tensor = made.has(name) ? undefined : (graph.initializers.get(name) ?? names.constant(name));
    if (tensor !== undefined) initializers.set(name, tensor);
  }
  const wanted = new Set<string>();
  for (const node of graph.nodes) {
    if (inside.has(node)) continue;
    for (const name of node.inputs) if (made.has(name)) wanted.add(name);
    for (const subgraph of node.subgraphs())
      for (const name of outerNames(subgraph)) if (made.has(name)) wanted.add(name);
  }
  const outputs = nodes.flatMap((node) => node.outputs).filter((name) => name !== '' && wanted.has(name));

  const model = new Model({
    irVersion: Math.max(workspace.model.irVersion, 4),
    opsetImports: new Map(workspace.model.opsetImports),
    graph: new Graph({
      name: 'constants',
      nodes: [...nodes],
      initializers,
      outputs: outputs.map((name) => {
        const type = workspace.typeOf(scope, name);
        return type?.kind === 'tensor' ? tensorValue(name, type.elementType, type.shape) : { name };
      }),
    }),
  });
  if (outputs.length > 0) {
    const session = await runtime.createSession(model, { threads, optimization: 'disabled' });
    try {
      for (const [name, array] of await session.run({}, outputs)) {
        graph.initializers.set(name, Tensor.fromArray(name, array));
        graph.valueInfos.delete(name);
      }
    } finally {
      await session.release();
    }
  }
  graph.nodes = graph.nodes.filter((node) => !inside.has(node));
  return nodes.length;
}
