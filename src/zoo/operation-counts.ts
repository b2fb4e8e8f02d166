import { macsOf } from '../onnx/cost/macs.ts';
import { typesAtBatchOne } from '../onnx/cost/types-for-cost.ts';
import type { Model } from '../onnx/model.ts';

export interface OperationCounts {
  readonly multiplications: number;
  readonly additions: number;
}

/**
 * Multiplications and additions of one sample apart: a multiply-accumulate is one of each.
 */
export function operationCounts(model: Model): OperationCounts {
  const { total } = macsOf(model, typesAtBatchOne(model));
  return { multiplications: total, additions: total };
}
