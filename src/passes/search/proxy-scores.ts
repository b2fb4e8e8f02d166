import { CompressionError } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import type { TrainingField } from '../../schemas/training.ts';
import type { LabelledBatch } from '../../training/proxies/gradient-proxies.ts';
import type { ProxyScores } from '../../training/proxies/zero-cost.ts';
import { finetuneContext } from '../finetune-context.ts';
import type { PassContext } from '../pass.ts';
import { copiedArray, copiedFeeds } from './first-batches.ts';

/** Scores that need no training; of each the larger is the better. */
export const PROXIES = ['naswot', 'jacob-cov', 'synflow', 'snip', 'grasp', 'fisher', 'grad-norm'] as const;
export type Proxy = (typeof PROXIES)[number];
/** What scores have to beat: the larger network, and the one that computes more. */
export const BASELINE_PROXIES = ['parameters', 'macs'] as const;
export type Scores = Readonly<Partial<Record<string, number>>>;

/** What the papers take. */
const BATCH_SIZE = 64;

/** Scores networks with fresh weights without training them, all by the same batch of training data. */
export class ProxyScorer {
  readonly #batch: LabelledBatch;
  readonly #loss: TrainingField['loss'];
  readonly #context: PassContext;

  /**
   * @param network - any of those that are to be scored
   * @throws CompressionError what the training data throw; DATASET_LABELS where they have no labels
   */
  static async open(network: Model, training: TrainingField, context: PassContext): Promise<ProxyScorer> {
    // Loaded where it computes: the HTTP side lists passes, and never loads the engine.
    const { firstBatch, openSource } = await import('../../training/finetune.ts');
    const options = { ...training, batchSize: Math.min(BATCH_SIZE, training.batchSize), augment: [] };
    const source = await openSource(network, options, finetuneContext(context));
    try {
      const { feeds, labels } = await firstBatch(source);
      if (labels === undefined) throw new CompressionError('DATASET_LABELS', 'zero-cost proxies need labels');
      const batch = { feeds: copiedFeeds(feeds), labels: copiedArray(labels) };
      return new ProxyScorer(batch, training.loss, context);
    } finally {
      await source.close();
    }
  }

  private constructor(batch: LabelledBatch, loss: TrainingField['loss'], context: PassContext) {
    this.#batch = batch;
    this.#loss = loss;
    this.#context = context;
  }

  /** @returns a score that the network does not have is absent, with the reason. @throws CompressionError MODEL_RUN */
  async scores(network: Model, names: readonly (Proxy | (typeof BASELINE_PROXIES)[number])[]): Promise<ProxyScores> {
    this.#context.signal.throwIfAborted();
    const { zeroCostProxies } = await import('../../training/proxies/zero-cost.ts');
    return zeroCostProxies(network, this.#batch, { ...this.#context, loss: this.#loss, names });
  }
}

/**
 * Zero-cost scores of networks with fresh weights, all by the same batch of training data.
 *
 * @param networks - with the inputs of the job's model
 * @returns by network; a score that a network does not have is absent
 * @throws CompressionError what the training data throw; MODEL_RUN
 */
export async function proxyScores(
  networks: readonly Model[],
  { proxies, training }: { readonly proxies: readonly Proxy[]; readonly training: TrainingField },
  context: PassContext,
): Promise<readonly Scores[]> {
  const [first] = networks;
  if (first === undefined || proxies.length === 0) return networks.map(() => ({}));
  const scorer = await ProxyScorer.open(first, training, context);
  const scores: Scores[] = [];
  for (const network of networks) scores.push((await scorer.scores(network, proxies)).scores);
  return scores;
}
