import { CompressionError } from '../../errors.ts';
import { inferTypes } from '../inference/infer-types.ts';
import type { Model } from '../model.ts';
import { DEFAULT_VERIFY_LIMITS, type VerifyLimits } from './limits.ts';
import { verifyFunctionNames, verifyNames } from './verify-names.ts';
import { verifyNesting } from './verify-nesting.ts';
import { verifyOperators } from './verify-operators.ts';
import { verifyTensors } from './verify-tensors.ts';
import { verifyVersions } from './verify-versions.ts';

const MAX_REPORTED = 3;

export interface VerifyOptions {
  readonly limits?: Partial<VerifyLimits>;
}

/**
 * Checks a decoded or changed model; does not change it. Linear in the size of the model (function calls are counted
 * before they are followed). Nodes must be in topological order: `sortTopologically` puts them there.
 *
 * A declared shape that differs from the inferred one is no error (ONNX Runtime warns and goes on); a declared element
 * type that differs is, and so is a node outside the branches of an If that cannot run on the shapes it gets.
 *
 * @throws CompressionError MODEL_UNSUPPORTED (IR or opset version), MODEL_UNSUPPORTED_OP (listing `domain:op`),
 *   MODEL_LIMIT (nodes, nesting, function expansion), MODEL_INVALID (all else, naming the node or value)
 */
export function verifyModel(model: Model, options: VerifyOptions = {}): void {
  verifyVersions(model);
  verifyNesting(model, { ...DEFAULT_VERIFY_LIMITS, ...options.limits });
  if (model.graph.outputs.length === 0) {
    throw new CompressionError('MODEL_INVALID', 'the graph has no outputs: there is nothing to compute; declare one');
  }
  verifyTensors(model);
  verifyNames(model.graph);
  for (const definition of model.functions) verifyFunctionNames(definition);
  verifyOperators(model);
  verifyTypes(model);
}

function verifyTypes(model: Model): void {
  const conflicts = inferTypes(model).conflicts.filter(
    ({ kind, isConditional }) => kind === 'element-type' || (kind === 'node' && !isConditional),
  );
  if (conflicts.length === 0) return;
  const listed = conflicts.slice(0, MAX_REPORTED).map(({ message }) => message);
  const more = conflicts.length > MAX_REPORTED ? `; and ${conflicts.length - MAX_REPORTED} more` : '';
  throw new CompressionError('MODEL_INVALID', `types do not fit: ${listed.join('; ')}${more}`);
}
