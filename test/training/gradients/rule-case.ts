import type { GraphBuilder } from '../../../src/onnx/graph-builder.ts';
import type { AttributeInit } from '../../../src/onnx/node.ts';
import { between, type CheckedInput, type Draw } from './check-gradient.ts';

type Attributes = Readonly<Record<string, AttributeInit>>;
export interface RuleCase {
  readonly op: string;
  readonly name?: string;
  readonly inputs: readonly CheckedInput[];
  readonly build: (b: GraphBuilder, x: readonly string[]) => readonly string[];
  readonly step?: number;
  readonly tolerance?: number;
}

export const float = (shape: readonly number[], draw?: Draw): CheckedInput =>
  draw === undefined ? { shape } : { shape, draw };
export const fixed = (shape: readonly number[], draw: Draw): CheckedInput => ({ shape, draw, differentiated: false });
export const integers = (shape: readonly number[], values: readonly number[]): CheckedInput => ({
  shape,
  integers: values,
});

/** One node on float inputs; with the default opset's operator of that name. */
export function one(
  op: string,
  inputs: readonly CheckedInput[],
  options: {
    attributes?: Attributes;
    name?: string;
    step?: number;
    tolerance?: number;
    domain?: string;
    ints?: readonly (readonly number[])[];
  } = {},
): RuleCase {
  const { attributes = {}, domain = '', ints = [], ...rest } = options;
  return {
    op: `${domain}:${op}`,
    inputs,
    build: (b, x) => [b.op(op, [...x, ...ints.map((values) => b.ints('ints', values))], { attributes, domain })],
    ...rest,
  };
}

/** Away from 0, where logarithms and quotients are steep. */
export const positive = between(0.5, 2);
