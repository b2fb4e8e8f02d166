import { loadModel } from '../../src/onnx/codec/load.ts';
import { defined } from '../../src/errors.ts';
import type { Model } from '../../src/onnx/model.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import type { Runtime } from '../../src/runtime/session.ts';

/** Product of one layer: ONNX Runtime on the quantized file, against sums over the rounded float weights, in plain loops. */
export interface LayerCheck {
  readonly layer: string;
  /** Largest difference, as a share of the largest output. */
  readonly difference: number;
}

/**
 * Checks layers of a model quantized to 4 bits in blocks of 32 with zero points: the weights of some output columns are rounded
 * here anew, straight from the float file, by the formula of MatMulNBits' quantizer.
 */
export async function checkLayers(
  floatPath: string,
  quantizedPath: string,
  layers: readonly string[],
  runtime: Runtime,
): Promise<LayerCheck[]> {
  const [before, after] = [await loadModel(floatPath), await loadModel(quantizedPath)];
  const checks: LayerCheck[] = [];
  for (const layer of layers) checks.push(await checkLayer(before, after, layer, runtime));
  return checks;
}

async function checkLayer(before: Model, after: Model, layer: string, runtime: Runtime): Promise<LayerCheck> {
  const weight = defined(before.graph.initializers.get(`${layer}.weight`), `${layer}.weight`);
  const [rows = 0, columns = 0] = weight.dims;
  const values = weight.floats();
  const x = Float32Array.from({ length: rows }, (_, i) => Math.sin(i));
  const got = await run(after, layer, x, runtime);
  let [largest, difference] = [0, 0];
  for (let column = 0; column < columns; column += 97) {
    let expected = 0;
    for (let k = 0; k < rows; k += 32) expected += blockProduct(values, x, { k, rows, columns, column });
    largest = Math.max(largest, Math.abs(expected));
    difference = Math.max(difference, Math.abs(expected - (got[column] ?? NaN)));
  }
  return { layer, difference: difference / largest };
}

function blockProduct(
  values: Float32Array,
  x: Float32Array,
  at: { readonly k: number; readonly rows: number; readonly columns: number; readonly column: number },
): number {
  const block: number[] = [];
  for (let i = at.k; i < Math.min(at.rows, at.k + 32); i += 1) block.push(values[i * at.columns + at.column] ?? 0);
  const min = Math.min(0, ...block);
  const scale = Math.fround((Math.max(0, ...block) - min) / 15);
  const zero = Math.round(-min / scale);
  return block.reduce((sum, value, i) => {
    const code = Math.min(15, Math.max(0, Math.round(value / scale + zero)));
    return sum + (code - zero) * scale * (x[at.k + i] ?? 0);
  }, 0);
}

/** One node of a model, with its constants, as a model of its own. */
async function run(model: Model, name: string, x: Float32Array, runtime: Runtime): Promise<Float32Array> {
  const node = defined(
    model.graph.nodes.find((one) => one.name === name),
    name,
  );
  const b = new GraphBuilder('layer');
  const input = b.input(defined(node.inputs[0], 'A'), 'float', [1, x.length]);
  for (const constant of node.inputs.slice(1)) {
    const tensor = model.graph.initializers.get(constant);
    if (tensor !== undefined) b.initializer(tensor);
  }
  b.graph.nodes.push(node);
  b.output(defined(node.outputs[0], 'Y'), defined(node.outputs[0], 'Y'), 'float', [1, node.int('N', 0)]);
  const session = await runtime.createSession(b.model(21, { 'com.microsoft': 1 }), { threads: 1 });
  try {
    const [y] = (await session.run({ [input]: { type: 'float', dims: [1, x.length], data: x } })).values();
    return y?.data as Float32Array;
  } finally {
    await session.release();
  }
}
