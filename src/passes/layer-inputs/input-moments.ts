import { CompressionError, defined } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import { tensorValue } from '../../onnx/value-type.ts';
import type { Session } from '../../runtime/session.ts';
import { copyModel } from '../../training/copy-model.ts';
import type { FeedSource, PassContext } from '../pass.ts';
import { inputRows, type InputRows } from './input-rows.ts';
import { RowProducts } from './row-products.ts';
import type { WeightTarget } from './weight-targets.ts';

/** Second moments of a layer's inputs, one entry a group; columns are ordered as in `InputRows`. */
export interface InputMoments {
  readonly columns: number;
  readonly rows: number;
  /** Means of x_i x_j, [columns, columns]; or of x_i² alone, [columns]. */
  readonly groups: readonly Float64Array[];
}

export type MomentKind = 'squares' | 'products';

/** Rows that a layer's moments rest on, about: enough for thousands of columns, and few enough for an early layer of a large image. */
const ROWS = 2 ** 14;
const BATCH = 16;

type MomentContext = Pick<PassContext, 'runtime' | 'threads' | 'signal' | 'seed'>;

/** Runs calibration data through a model up to the layers asked for, and keeps the moments of what goes into them. */
export class MomentCollector {
  readonly #feeds: FeedSource;
  readonly #context: MomentContext;
  readonly #kind: MomentKind;
  readonly #products: RowProducts;

  constructor(feeds: FeedSource, kind: MomentKind, context: MomentContext) {
    this.#feeds = feeds;
    this.#kind = kind;
    this.#context = context;
    this.#products = new RowProducts(context);
  }

  /**
   * @param targets - layers of `model` as it is now
   * @returns moments by initializer; a weight that several layers read has the moments of all their inputs
   * @throws CompressionError DATASET_EMPTY; MODEL_RUN
   */
  async collect(model: Model, targets: readonly WeightTarget[]): Promise<ReadonlyMap<string, InputMoments>> {
    const taps = [...new Set(targets.flatMap(({ nodes }) => nodes.map((node) => node.inputs[0] ?? '')))];
    const inputs = new Set(model.graph.inputs.map(({ name }) => name));
    const computed = taps.filter((tap) => !inputs.has(tap));
    const sums = new Map(targets.map((target) => [target.name, emptySums(target, this.#kind)]));
    const session = computed.length === 0 ? undefined : await this.#tapped(model, computed);
    try {
      const perSample = Math.max(1, Math.ceil(ROWS / Math.max(1, this.#feeds.samples)));
      let samples = 0;
      for await (const batch of this.#feeds.batches(BATCH)) {
        this.#context.signal.throwIfAborted();
        const results = await session?.run(batch.feeds, computed);
        for (const target of targets) {
          const sum = defined(sums.get(target.name), target.name);
          for (const node of target.nodes) {
            const tap = node.inputs[0] ?? '';
            const input = defined(results?.get(tap) ?? batch.feeds[tap], `"${tap}"`);
            const place = { input, layout: target.layout, kernelShape: target.dims.slice(2) };
            const sampling = { perSample, seed: this.#context.seed, firstSample: samples };
            for (const [group, total] of sum.groups.entries()) {
              const rows = inputRows(node, place, group, sampling);
              await this.#add(total, rows);
              if (group === 0) sum.rows += rows.count;
            }
          }
        }
        samples += batch.count;
      }
      if (samples === 0) {
        throw new CompressionError('DATASET_EMPTY', 'the calibration data gives no sample; name a set with samples');
      }
    } finally {
      await session?.release();
    }
    return new Map(
      [...sums].map(([name, { columns, rows, groups }]): [string, InputMoments] => {
        for (const group of groups) for (let i = 0; i < group.length; i += 1) group[i] = (group[i] ?? 0) / rows;
        return [name, { columns, rows, groups }];
      }),
    );
  }

  async release(): Promise<void> {
    await this.#products.release();
  }

  async #tapped(model: Model, taps: readonly string[]): Promise<Session> {
    const tapped = copyModel(model);
    // ONNX Runtime leaves out what no output depends on, so the layers behind the last tap cost nothing.
    tapped.graph.outputs = taps.map((tap) => tensorValue(tap, 'float'));
    return this.#context.runtime.createSession(tapped, { threads: this.#context.threads });
  }

  async #add(total: Float64Array, rows: InputRows): Promise<void> {
    if (this.#kind === 'squares') {
      addSquares(total, rows);
      return;
    }
    await this.#products.add(total, rows);
  }
}

function emptySums(
  { layout }: WeightTarget,
  kind: MomentKind,
): { readonly columns: number; rows: number; readonly groups: readonly Float64Array[] } {
  const columns = layout.inputs * layout.kernel;
  const length = kind === 'squares' ? columns : columns * columns;
  return { columns, rows: 0, groups: Array.from({ length: layout.groups }, () => new Float64Array(length)) };
}

function addSquares(total: Float64Array, { count, columns, data }: InputRows): void {
  for (let row = 0; row < count; row += 1) {
    const from = row * columns;
    for (let c = 0; c < columns; c += 1) total[c] = (total[c] ?? 0) + (data[from + c] ?? 0) ** 2;
  }
}
