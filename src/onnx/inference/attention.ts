import type { Dimension, Shape } from '../value-type.ts';
import { tensor, type InferRule, type RuleContext } from './rule.ts';

/**
 * Attention (opset 23). Q, K, V are [batch, heads, sequence, head size], or [batch, sequence, heads * head size] with the
 * numbers of heads as attributes. Outputs: Y in the layout of Q, present key and value, and the scores.
 */
export const attention: InferRule = (context) => {
  const { node, symbols } = context;
  const [queryHeads, keyHeads] = [node.int('q_num_heads', 0), node.int('kv_num_heads', 0)];
  const query = headed(context, 0, queryHeads);
  const key = headed(context, 1, keyHeads);
  const value = headed(context, 2, keyHeads);
  const type = context.elementType(0);
  if (query === undefined || key === undefined || value === undefined) return [tensor(type, undefined)];
  const [batch, heads, sequence] = [query[0] ?? null, query[1] ?? null, query[2] ?? null];
  const past = context.shape(4)?.[2];
  const total = symbols.add(key[2] ?? null, context.has(4) ? (past ?? null) : 0);
  const size = value[3] ?? null;
  const isFlat = context.shape(0)?.length === 3;
  return [
    tensor(type, isFlat ? [batch, sequence, symbols.multiply(heads, size)] : [batch, heads, sequence, size]),
    tensor(context.elementType(1), [batch, key[1] ?? null, total, key[3] ?? null]),
    tensor(context.elementType(2), [batch, value[1] ?? null, total, size]),
    tensor(type, [batch, heads, sequence, total]),
  ];
};

/** The operand as [batch, heads, sequence, head size]. */
function headed(context: RuleContext, index: number, heads: number): Shape | undefined {
  const shape = context.shape(index);
  if (shape === undefined || shape.length === 4) return shape;
  if (shape.length !== 3 || heads < 1) return undefined;
  const size: Dimension = context.symbols.divideExactly(shape[2] ?? null, heads) ?? null;
  return [shape[0] ?? null, heads, shape[1] ?? null, size];
}
