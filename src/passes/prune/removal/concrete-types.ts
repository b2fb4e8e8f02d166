import { inferTypes } from '../../../onnx/inference/infer-types.ts';
import type { TypeTable } from '../../../onnx/inference/type-table.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Dimension } from '../../../onnx/value-type.ts';

const IMAGE_SIZE = 224;
/** Sizes that no product of other sizes is likely to be: where a Reshape takes an axis apart stays unambiguous. */
const PRIMES = [7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47] as const;

/** What `ConcreteTypes.shape` answers: every size a number. */
export type Sizes = readonly number[];

/** Shapes of the main graph with every open size of the inputs set to some number. A snapshot: it does not follow edits. */
export interface ConcreteTypes {
  /** Size taken for the first axis of inputs where that is open. */
  readonly batch: number;
  /** Undefined where a size does not follow from those of the inputs. */
  shape(value: string): Sizes | undefined;
  isFloat(value: string): boolean;
}

/**
 * Two samples where the batch is open (one, if the graph only takes one), images 224 pixels wide, other open axes of different
 * prime sizes. The same model gives the same sizes.
 */
export function concreteTypes(model: Model): ConcreteTypes {
  const two = typesWith(model, 2);
  return two.conflicts.some(({ kind }) => kind === 'node')
    ? answers(model, typesWith(model, 1), 1)
    : answers(model, two, 2);
}

function typesWith(model: Model, batch: number): TypeTable {
  const { graph } = model;
  const symbols: Record<string, number> = {};
  const inputShapes: Record<string, Dimension[]> = {};
  let primes = 0;
  for (const { name, type } of graph.inputs) {
    if (type?.kind !== 'tensor' || type.shape === undefined || graph.initializers.has(name)) continue;
    const rank = type.shape.length;
    inputShapes[name] = type.shape.map((size, axis) => {
      if (typeof size === 'number') return size;
      if (size !== null && symbols[size] !== undefined) return symbols[size];
      const open = axis === 0 ? batch : rank === 4 && axis > 1 ? IMAGE_SIZE : (PRIMES[primes++ % PRIMES.length] ?? 7);
      if (size !== null) symbols[size] = open;
      return open;
    });
  }
  return inferTypes(model, { symbols, inputShapes });
}

function answers({ graph }: Model, types: TypeTable, batch: number): ConcreteTypes {
  return {
    batch,
    shape(value) {
      const tensor = graph.initializers.get(value);
      const shape = tensor?.dims ?? types.shape(graph, value);
      const sizes = shape?.filter((size) => typeof size === 'number');
      return sizes?.length === shape?.length ? sizes : undefined;
    },
    isFloat(value) {
      const type = types.of(graph, value);
      return type?.kind === 'tensor' && /^(float|double|float16|bfloat16)$/.test(type.elementType);
    },
  };
}
