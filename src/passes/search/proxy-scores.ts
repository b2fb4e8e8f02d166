import { CompressionError } from '../../errors.ts';
import type { Model } from '../../onnx/model.ts';
import type { TrainingField } from '../../schemas/training.ts';
import { finetuneContext } from '../finetune-context.ts';
import type { PassContext } from '../pass.ts';

/** Scores that need no training; of each the larger is the better. */
export const PROXIES = ['naswot', 'jacob-cov', 'synflow', 'snip', 'grasp', 'fisher', 'grad-norm'] as const;
export type Proxy = (typeof PROXIES)[number];
export type Scores = Readonly<Partial<Record<string, number>>>;

/** What the papers take. */
const BATCH_SIZE = 64;

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
  const [{ zeroCostProxies }, { firstBatch, openSource }] = await Promise.all([
    import('../../training/proxies/zero-cost.ts'),
    import('../../training/finetune.ts'),
  ]);
  const source = await openSource(
    first,
    { ...training, batchSize: Math.min(BATCH_SIZE, training.batchSize), augment: [] },
    finetuneContext(context),
  );
  try {
    const { feeds, labels } = await firstBatch(source);
    if (labels === undefined) throw new CompressionError('DATASET_LABELS', 'zero-cost proxies need labels');
    const scores: Scores[] = [];
    for (const network of networks) {
      context.signal.throwIfAborted();
      const found = await zeroCostProxies(
        network,
        { feeds, labels },
        { ...context, loss: training.loss, names: proxies },
      );
      scores.push(found.scores);
    }
    return scores;
  } finally {
    await source.close();
  }
}
