import { messageOf, CompressionError } from '../errors.ts';
import { summarizeModel } from '../onnx/print/summarize-model.ts';
import type { Measurement } from '../schemas/report.ts';
import type { EvaluationContext, NotMeasured, Subject } from './evaluation-context.ts';
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
    ...(await integerShare(context, subject, missing)),
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
