import { messageOf, CompressionError } from '../errors.ts';
import { macsOf } from '../onnx/cost/macs.ts';
import { peakActivationBytes } from '../onnx/cost/peak-activation.ts';
import { typesAtBatchOne } from '../onnx/cost/types-for-cost.ts';
import { inferTypes } from '../onnx/inference/infer-types.ts';
import type { TypeTable } from '../onnx/inference/type-table.ts';
import type { Model } from '../onnx/model.ts';
import { describeNode } from '../onnx/node.ts';
import { summarizeModel } from '../onnx/print/summarize-model.ts';
import type { Measurement } from '../schemas/report.ts';
import type { EvaluationContext, NotMeasured, Subject } from './evaluation-context.ts';
import { operationCounts } from '../zoo/operation-counts.ts';
import { countKernels } from './integer-kernels.ts';
import { countParameters, measureFile } from './sizes.ts';

/** Everything about one model that needs no data: sizes, parameters, cost, kernels. Appends what it could not measure. */
export async function measureModel(
  context: EvaluationContext,
  subject: Subject,
  name: 'baseline' | 'result',
  notMeasured: NotMeasured[],
): Promise<Measurement> {
  const missing = (field: string, reason: string): void => void notMeasured.push({ name: `${name}.${field}`, reason });
  const file = await measureFile(subject.path, subject.model, context.signal);
  if (file.bytesCompressed === undefined) missing('bytesCompressed', 'the model is larger than 1 GiB');
  const { unread, ...parameters } = countParameters(subject.model);
  if (unread.length > 0) {
    missing(
      'nonzeroParameters',
      `the layout of ${unread.length} weights ("${unread[0] ?? ''}" first) is not read here`,
    );
  }
  if (parameters.parameters === 0) missing('effectiveBitsPerWeight', 'the model has no parameters');
  return {
    ...(subject.sha256 === undefined ? {} : { sha256: subject.sha256 }),
    ...file,
    ...parameters,
    operators: summarizeModel(subject.model).operators,
    ...costOf(subject, await typesOfSample(context, subject.model), missing),
    ...(await integerShare(context, subject, missing)),
  };
}

/**
 * Types at batch 1. Where the model leaves other sizes open (height and width, length), those of the first sample it is
 * measured with: cost and latency then speak of the same inputs.
 */
async function typesOfSample(context: EvaluationContext, model: Model): Promise<TypeTable> {
  const open = model.graph.inputs.some(
    ({ type }) =>
      type?.kind === 'tensor' && type.shape?.some((dim, axis) => axis > 0 && typeof dim !== 'number') === true,
  );
  const feeds = context.data ?? context.generated;
  if (!open || feeds === undefined) return typesAtBatchOne(model);
  for await (const batch of feeds.batches(1)) {
    const inputShapes = Object.fromEntries(Object.entries(batch.feeds).map(([name, { dims }]) => [name, dims]));
    return inferTypes(model, { inputShapes });
  }
  return typesAtBatchOne(model);
}

/** Arithmetic and activation memory of one sample. A lower bound is not passed off as the number: it is left out. */
function costOf(
  { model }: Subject,
  types: TypeTable,
  missing: (field: string, reason: string) => void,
): Pick<Measurement, 'macs' | 'operations' | 'bops' | 'peakActivationBytes'> {
  const macs = macsOf(model, types);
  const operations = operationCounts(model, types, macs.total);
  const peak = peakActivationBytes(model, types);
  const [unknownNode] = macs.unknown;
  if (unknownNode !== undefined) {
    missing(
      'macs',
      `${macs.unknown.length} nodes could not be counted; ${describeNode(unknownNode.node)}: ${unknownNode.reason}`,
    );
  }
  const [unknownValue] = peak.unknown;
  if (unknownValue !== undefined) {
    missing(
      'peakActivationBytes',
      `the size of ${peak.unknown.length} values is not known, "${unknownValue}" among them`,
    );
  }
  return {
    ...(unknownNode === undefined ? { macs: macs.total, bops: macs.bitOperations } : {}),
    ...(unknownNode === undefined && Number.isFinite(operations.additions) ? { operations } : {}),
    ...(unknownValue === undefined ? { peakActivationBytes: peak.bytes } : {}),
  };
}

async function integerShare(
  context: EvaluationContext,
  subject: Subject,
  missing: (field: string, reason: string) => void,
): Promise<Pick<Measurement, 'integerNodesShare'>> {
  try {
    const { compute, integerCompute } = await countKernels(
      context.runtime,
      { path: subject.path },
      { threads: context.threads, folder: context.folder },
    );
    if (compute > 0) return { integerNodesShare: integerCompute / compute };
    missing('integerNodesShare', 'the model has no convolution, matrix product or recurrent cell');
  } catch (error) {
    // ONNX Runtime cannot write some optimized graphs down (functions, compiled nodes); loading itself is checked elsewhere.
    if (error instanceof CompressionError && error.code === 'CANCELED') throw error;
    missing('integerNodesShare', `ONNX Runtime did not give its optimized graph: ${messageOf(error)}`);
  }
  return {};
}
