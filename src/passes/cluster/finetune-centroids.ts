import { GraphBuilder } from '../../onnx/graph-builder.ts';
import type { Model } from '../../onnx/model.ts';
import { makeNode, type Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import type { TrainingField } from '../../schemas/training.ts';
import type { TrainingRunReport } from '../../schemas/training-report.ts';
import { finetuneContext } from '../finetune-context.ts';
import type { PassContext } from '../pass.ts';
import type { WrittenCodebook } from './codebook-writer.ts';

/** A centroid's gradient is a sum over thousands of weights: rates for single weights would throw it about. */
const DEFAULT_LEARNING_RATE = 1e-4;

/**
 * Trains the centroids (and what `training.trainable` names besides) with the indices as they are: the gradient of Gather
 * adds up those of the weights that share a centroid. Pinned zeros stay zeros.
 *
 * @throws CompressionError as training does
 */
export async function finetuneCentroids(
  model: Model,
  codebooks: readonly WrittenCodebook[],
  training: TrainingField,
  context: PassContext,
): Promise<{ readonly training: TrainingRunReport; readonly warnings: readonly string[]; readonly changed: number }> {
  const [{ finetune }, { applyTrained }, { runReport }] = await Promise.all([
    import('../../training/finetune.ts'),
    import('../../training/trained-values.ts'),
    import('../../training/run-report.ts'),
  ]);
  const settings: TrainingField = {
    ...training,
    learningRate: training.learningRate ?? DEFAULT_LEARNING_RATE,
    trainable: [...codebooks.map(({ codebook }) => codebook), ...(training.trainable ?? [])],
  };
  const release = pinZeros(model, codebooks);
  try {
    const { outcome, warnings } = await finetune(model, settings, finetuneContext(context));
    return { training: runReport('model', outcome), warnings, changed: applyTrained(model, outcome.values) };
  } finally {
    release();
  }
}

/** While it is trained, a codebook with a zero goes through a product with 0 there and 1 elsewhere, which stops its gradient. */
function pinZeros(model: Model, codebooks: readonly WrittenCodebook[]): () => void {
  const { graph } = model;
  const builder = new GraphBuilder(graph);
  const added: { readonly node: Node; readonly mask: string; readonly of: WrittenCodebook }[] = [];
  for (const of of codebooks) {
    const values = graph.initializers.get(of.codebook)?.floats() ?? new Float32Array(0);
    if (!values.includes(0)) continue;
    const mask = builder.initializer(
      Tensor.float(
        `${of.codebook}_mask`,
        values.map((value) => (value === 0 ? 0 : 1)),
      ),
    );
    const masked = builder.fresh(`${of.codebook}_masked`);
    const node = makeNode('Mul', [of.codebook, mask], [masked], { name: masked });
    of.gather.inputs[0] = masked;
    added.push({ node, mask, of });
  }
  graph.nodes.unshift(...added.map(({ node }) => node));
  return () => {
    const nodes = new Set(added.map(({ node }) => node));
    graph.nodes = graph.nodes.filter((node) => !nodes.has(node));
    for (const { mask, of } of added) {
      graph.initializers.delete(mask);
      of.gather.inputs[0] = of.codebook;
    }
  };
}
