import { CompressionError, defined } from '../errors.ts';
import { Graph, outerNames } from '../onnx/graph.ts';
import { inferTypes } from '../onnx/inference/infer-types.ts';
import type { TypeTable } from '../onnx/inference/type-table.ts';
import { Model } from '../onnx/model.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import type { Node } from '../onnx/node.ts';
import { tensorValue, type ValueInfo } from '../onnx/value-type.ts';
import type { Session } from '../runtime/session.ts';
import type { FeedSource, PassContext } from './pass.ts';

/** Values at a cut of the graph that take more than this, over all samples, are computed again instead. */
const KEPT_BYTES = 512 * 2 ** 20;
const BATCH = 32;

export interface TappedBatch {
  readonly values: ReadonlyMap<string, NdArray>;
  readonly count: number;
  /** Number of its first sample. */
  readonly firstSample: number;
}

interface KeptBatch {
  readonly values: ReadonlyMap<string, NdArray>;
  readonly count: number;
}

/**
 * Runs all the data through a model a stretch of nodes at a time, so that weights of later nodes can be chosen by what earlier ones
 * make of the data: as a whole about one run of the model. What crosses the cut between two stretches stays in memory, if it is not
 * more than half a gigabyte; otherwise the next stretch begins where the last one did.
 *
 * Between steps the caller may change initializers, and inputs of nodes behind the cut; not the order of nodes.
 */
export class SteppedRun {
  readonly #model: Model;
  readonly #feeds: FeedSource;
  readonly #context: Pick<PassContext, 'runtime' | 'threads' | 'signal'>;
  readonly #types: TypeTable;
  readonly #keptBytes: number;
  readonly #producers = new Map<string, number>();
  /** The last node that reads a value, as far as the run will go. */
  readonly #lastReaders = new Map<string, number>();
  #position = 0;
  #kept: readonly KeptBatch[] | undefined;

  /**
   * @param limits.until - number of nodes that matter: all taps lie before it; default all
   * @param limits.keptBytes - what may stay in memory at a cut; default half a gigabyte
   */
  constructor(
    model: Model,
    feeds: FeedSource,
    context: Pick<PassContext, 'runtime' | 'threads' | 'signal'>,
    { until, keptBytes }: { readonly until?: number; readonly keptBytes?: number } = {},
  ) {
    this.#keptBytes = keptBytes ?? KEPT_BYTES;
    this.#model = model;
    this.#feeds = feeds;
    this.#context = context;
    this.#types = inferTypes(model);
    for (const [index, node] of model.graph.nodes.slice(0, until).entries()) {
      for (const output of node.outputs) this.#producers.set(output, index);
      for (const name of readsOf(node)) this.#lastReaders.set(name, index);
    }
  }

  /**
   * The taps' values, batch by batch in the order of the data; then the run stands before node `cut`. To be consumed to its end.
   *
   * @param cut - index of a node, no smaller than that of the last step
   * @param taps - values of the main graph, also behind the cut, but none that is older than the last cut
   * @throws CompressionError MODEL_RUN; DATASET_EMPTY; AbortError when canceled
   */
  async *advance(cut: number, taps: readonly string[]): AsyncGenerator<TappedBatch> {
    const end = Math.max(cut, ...taps.map((tap) => (this.#producers.get(tap) ?? -1) + 1));
    const nodes = this.#model.graph.nodes.slice(this.#position, end);
    const made = new Set(nodes.flatMap(({ outputs }) => outputs));
    const crossing = this.#crossing(cut);
    const fetch = [...new Set([...taps, ...(crossing ?? [])])].filter((name) => made.has(name));
    const kept: KeptBatch[] = [];
    let keeps = crossing !== undefined;
    let [session, firstSample]: [Session | undefined, number] = [undefined, 0];
    try {
      for await (const { values, count } of this.#source()) {
        this.#context.signal.throwIfAborted();
        if (fetch.length > 0) session ??= await this.#session(nodes, values, fetch);
        const wanted = keeps ? fetch : fetch.filter((name) => taps.includes(name));
        const feeds = Object.fromEntries((session?.inputs ?? []).map(({ name }) => [name, valueOf(values, name)]));
        const results = wanted.length === 0 ? undefined : await session?.run(feeds, wanted);
        const read = (name: string): NdArray => defined(results?.get(name) ?? values.get(name), `value "${name}"`);
        if (keeps && crossing !== undefined) {
          const own = new Map(crossing.map((name) => [name, read(name)]));
          let bytes = 0;
          for (const array of own.values()) bytes += array.type === 'string' ? 0 : array.data.byteLength;
          keeps = (bytes / Math.max(1, count)) * this.#feeds.samples <= this.#keptBytes;
          if (keeps) kept.push({ values: own, count });
        }
        yield { values: new Map(taps.map((tap) => [tap, read(tap)])), count, firstSample };
        firstSample += count;
      }
    } finally {
      await session?.release();
    }
    if (firstSample === 0) {
      throw new CompressionError('DATASET_EMPTY', 'the calibration data gives no sample; name a set with samples');
    }
    if (!keeps) return;
    this.#kept = kept;
    this.#position = cut;
  }

  async *#source(): AsyncGenerator<KeptBatch> {
    if (this.#kept !== undefined) {
      yield* this.#kept;
      return;
    }
    for await (const { feeds, count } of this.#feeds.batches(BATCH)) {
      yield { values: new Map(Object.entries(feeds)), count };
    }
  }

  /** What nodes from `cut` on read of what is made before it; undefined where that is no tensor of a known type. */
  #crossing(cut: number): readonly string[] | undefined {
    const { graph } = this.#model;
    const names: string[] = [];
    for (const [name, lastReader] of this.#lastReaders) {
      if (lastReader < cut || graph.initializers.has(name) || graph.sparseInitializers.has(name)) continue;
      const producer = this.#producers.get(name) ?? -1;
      if (producer >= cut) continue;
      if (producer >= this.#position && this.#types.of(graph, name)?.kind !== 'tensor') return undefined;
      names.push(name);
    }
    return names;
  }

  #session(nodes: readonly Node[], values: ReadonlyMap<string, NdArray>, fetch: readonly string[]): Promise<Session> {
    const { graph } = this.#model;
    const part = new Graph({ name: graph.name });
    const made = new Set<string>();
    const read = new Set<string>();
    for (const node of nodes) {
      for (const name of readsOf(node)) if (!made.has(name)) read.add(name);
      for (const output of node.outputs) made.add(output);
    }
    for (const name of read) {
      const tensor = graph.initializers.get(name);
      const sparse = graph.sparseInitializers.get(name);
      const array = values.get(name);
      if (tensor !== undefined) part.initializers.set(name, tensor);
      else if (sparse !== undefined) part.sparseInitializers.set(name, sparse);
      else if (array !== undefined) {
        part.inputs.push(
          tensorValue(
            name,
            array.type,
            array.dims.map(() => null),
          ),
        );
      }
    }
    part.nodes = [...nodes];
    part.outputs = fetch.map((name): ValueInfo => {
      const type = this.#types.of(graph, name);
      return tensorValue(name, type?.kind === 'tensor' ? type.elementType : 'float');
    });
    const model = Object.assign(new Model({ graph: part, opsetImports: this.#model.opsetImports }), this.#model, {
      graph: part,
    });
    return this.#context.runtime.createSession(model, { threads: this.#context.threads });
  }
}

function* readsOf(node: Node): Generator<string> {
  for (const name of node.inputs) if (name !== '') yield name;
  for (const subgraph of node.subgraphs()) yield* outerNames(subgraph);
}

function valueOf(values: ReadonlyMap<string, NdArray>, name: string): NdArray {
  return defined(values.get(name), `value "${name}"`);
}
