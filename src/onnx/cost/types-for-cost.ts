import { inferTypes } from '../inference/infer-types.ts';
import type { TypeTable } from '../inference/type-table.ts';
import type { Model } from '../model.ts';
import type { Dimension, Shape } from '../value-type.ts';

/**
 * Types for cost figures at batch 1: the first size of each graph input is 1 where it is a symbol or unknown. Further
 * symbols take their size from `symbols`; those that stay open leave the cost of the nodes behind them unknown. A fixed
 * batch stays as the file declares it.
 */
export function typesAtBatchOne(model: Model, symbols: Readonly<Record<string, number>> = {}): TypeTable {
  const sizes: Record<string, number> = {};
  const inputShapes: Record<string, Shape> = {};
  for (const { type } of model.graph.inputs) {
    const batch = type?.kind === 'tensor' ? type.shape?.[0] : undefined;
    if (typeof batch === 'string') sizes[batch] = 1;
  }
  Object.assign(sizes, symbols);
  for (const { name, type } of model.graph.inputs) {
    if (type?.kind !== 'tensor' || type.shape?.[0] !== null) continue;
    const known = type.shape.map((size): Dimension => (typeof size === 'string' ? (sizes[size] ?? size) : size));
    inputShapes[name] = [1, ...known.slice(1)];
  }
  return inferTypes(model, { symbols: sizes, inputShapes });
}
