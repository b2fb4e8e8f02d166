import type { Dimension } from '../value-type.ts';
import { InferenceConflict, sameSize, showShape, tensor, type InferRule } from './rule.ts';

/**
 * RNN, GRU, LSTM. X [seq, batch, in], R [directions, gates*hidden, hidden] -> Y [seq, directions, batch, hidden],
 * Y_h and Y_c [directions, batch, hidden]; layout 1 puts batch first.
 */
export function recurrent(gates: number, outputs: 2 | 3): InferRule {
  return (context) => {
    const [data, weight, recurrence] = [context.shape(0), context.shape(1), context.shape(2)];
    for (const shape of [data, weight, recurrence]) {
      if (shape !== undefined && shape.length !== 3)
        throw new InferenceConflict(`needs rank 3, got ${showShape(shape)}`);
    }
    const batchFirst = context.node.int('layout', 0) === 1;
    const directions = context.node.string('direction', 'forward') === 'bidirectional' ? 2 : 1;
    const [sequence, batch] = batchFirst
      ? [data?.[1] ?? null, data?.[0] ?? null]
      : [data?.[0] ?? null, data?.[1] ?? null];
    sameSize(data?.[2] ?? null, weight?.[2] ?? null, 'input size of X and W');
    sameSize(weight?.[0] ?? null, directions, 'directions of W');
    const attribute = context.node.int('hidden_size', 0);
    const hidden: Dimension = attribute > 0 ? attribute : (recurrence?.[2] ?? null);
    if (typeof hidden === 'number') sameSize(weight?.[1] ?? null, gates * hidden, 'gates times hidden size in W');
    const type = context.elementType(0);
    const state = tensor(type, batchFirst ? [batch, directions, hidden] : [directions, batch, hidden]);
    const all = tensor(
      type,
      batchFirst ? [batch, sequence, directions, hidden] : [sequence, directions, batch, hidden],
    );
    return outputs === 3 ? [all, state, state] : [all, state];
  };
}
