import { CompressionError } from '../errors.ts';
import { NameScope, type Graph } from '../onnx/graph.ts';
import { inferTypes } from '../onnx/inference/infer-types.ts';
import type { TypeTable } from '../onnx/inference/type-table.ts';
import type { Model } from '../onnx/model.ts';
import { elementCount } from '../onnx/nd-array.ts';
import type { Node } from '../onnx/node.ts';
import { Tensor } from '../onnx/tensor.ts';

/** Stands for the batch while shapes are inferred. */
const BATCH = '(training batch)';

type Shapes = Readonly<Record<string, readonly number[]>>;

/**
 * Makes a graph that was exported for one batch size run on another: constant shapes of Reshape and Expand that hold the
 * old size are replaced where their first axis is the batch beyond doubt, that is, where the data's first axis is the
 * batch and one sample has as many values as before. The declared inputs still have the old size; they are not changed.
 *
 * @param shapes - of the data inputs as they will be, batch axis first
 * @throws CompressionError MODEL_UNSUPPORTED that names the node which cannot run on them
 */
export function releaseBatch(model: Model, shapes: Shapes): void {
  const { graph } = model;
  const old = declaredBatch(graph, shapes);
  const symbolic = Object.fromEntries(Object.entries(shapes).map(([name, [, ...rest]]) => [name, [BATCH, ...rest]]));
  // A shape that is put right shows what the nodes behind it are given: look again until nothing is found.
  for (let again = true; again;) {
    const types = inferTypes(model, { inputShapes: symbolic });
    const names = new NameScope(graph);
    again = false;
    for (const node of graph.nodes) {
      const shape = released(node, types, { graph, old });
      if (shape === undefined) continue;
      const name = names.fresh(`${node.outputs[0] ?? 'value'}_shape`);
      graph.initializers.set(name, Tensor.int64(name, shape));
      node.inputs = [node.inputs[0] ?? '', name];
      again = true;
    }
  }
  checkRuns(model, shapes, old);
}

/** The one size that the inputs declare for their first axis, if they do. */
function declaredBatch({ inputs }: Graph, shapes: Shapes): number | undefined {
  for (const { name, type } of inputs) {
    const size = type?.kind === 'tensor' ? type.shape?.[0] : undefined;
    if (Object.hasOwn(shapes, name) && typeof size === 'number') return size;
  }
  return undefined;
}

/** The constant shape that `node` should have instead of its own; undefined where that one will do, or nothing is proven. */
function released(
  node: Node,
  types: TypeTable,
  { graph, old }: { readonly graph: Graph; readonly old: number | undefined },
): readonly number[] | undefined {
  if (node.domain !== '' || (node.opType !== 'Reshape' && node.opType !== 'Expand')) return undefined;
  const [data = '', shape = ''] = node.inputs;
  const given = types.constant(graph, shape);
  const [batch, ...sample] = types.shape(graph, data) ?? [];
  if (given === undefined || batch !== BATCH) return undefined;
  if (node.opType === 'Expand') {
    // 1 broadcasts; any other size would be the batch the graph was made for.
    const isBatch = given.length === sample.length + 1 && given[0] !== 1 && given[0] === old;
    return isBatch ? [1, ...given.slice(1)] : undefined;
  }
  const fixed = sample.filter((size) => typeof size === 'number');
  if (fixed.length !== sample.length) return undefined;
  return releasedReshape(given, fixed, { old, copiesZero: node.int('allowzero', 0) === 0 });
}

/** @param sample - the data's shape without the batch */
function releasedReshape(
  given: readonly number[],
  sample: readonly number[],
  { old, copiesZero }: { readonly old: number | undefined; readonly copiesZero: boolean },
): readonly number[] | undefined {
  const [first = 0, ...rest] = given.map((size, axis) =>
    size === 0 && copiesZero && axis > 0 ? sample[axis - 1] : size,
  );
  if (first < 1 || (old !== undefined && first !== old)) return undefined;
  const count = elementCount(sample);
  const sizes = rest.filter((size) => size !== undefined);
  if (sizes.length !== rest.length || count === 0) return undefined;
  const open = sizes.indexOf(-1);
  if (open >= 0) {
    // Without a declared batch, -1 may take the batch as well as what is left of the sample.
    const others = elementCount(sizes.toSpliced(open, 1));
    if (old === undefined || others < 1 || count % others !== 0) return undefined;
    sizes[open] = count / others;
  }
  return elementCount(sizes) === count ? [-1, ...sizes] : undefined;
}

function checkRuns(model: Model, shapes: Shapes, old: number | undefined): void {
  const { conflicts } = inferTypes(model, { inputShapes: shapes });
  const conflict = conflicts.find(({ kind, isConditional }) => kind === 'node' && !isConditional);
  if (conflict === undefined) return;
  const batch = Object.values(shapes)[0]?.[0] ?? 0;
  const remedy =
    old === undefined
      ? 'export the model with a batch axis that stays open through all layers'
      : `the model was exported for batches of ${old}: export it with an open batch axis (dynamic_axes or dynamic_shapes in PyTorch), or set training.batchSize to ${old}`;
  throw new CompressionError(
    'MODEL_UNSUPPORTED',
    `the model cannot run on a training batch of ${batch}: ${conflict.message}; ${remedy}`,
  );
}
