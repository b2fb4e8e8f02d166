import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { loadModel } from '../onnx/codec/load.ts';
import { withSubgraphs } from '../onnx/graph.ts';
import type { Model } from '../onnx/model.ts';
import type { Runtime } from '../runtime/session.ts';

export interface KernelCounts {
  /** Kernels that do the bulk of the arithmetic: convolutions, matrix products, recurrent cells, attention. */
  readonly compute: number;
  /** Those of them that multiply integers. */
  readonly integerCompute: number;
  /** All kernels of the optimized graph, and how many of them work on integers without leaving them. */
  readonly kernels: number;
  readonly integerKernels: number;
}

const FLOAT_COMPUTE =
  /^(Nhwc)?(Fused)?(Conv|ConvTranspose|Gemm|MatMul|LSTM|GRU|RNN|Attention|MultiHeadAttention|GroupQueryAttention|Einsum)$/;
const INTEGER_COMPUTE =
  /^(QLinearConv|QLinearConvTranspose|ConvInteger|QLinearMatMul|MatMulInteger|MatMulInteger16|MatMulIntegerToFloat|QGemm|DynamicQuantizeMatMul|DynamicQuantizeLSTM|QAttention|QOrdered\w+)$/;
const INTEGER_OTHER = /^(Nhwc)?(QLinear\w+|MaxPool)$/;

/**
 * Which kernels ONNX Runtime really runs: it is asked for its optimized graph of this CPU, and that is counted. A QDQ
 * model whose pairs were not fused shows up here as float.
 *
 * @param folder - existing private folder for the temporary file
 * @throws CompressionError MODEL_LOAD from the session
 */
export async function countKernels(
  runtime: Runtime,
  model: Model | { readonly path: string },
  options: { readonly threads: number; readonly folder: string },
): Promise<KernelCounts> {
  const folder = await mkdtemp(join(options.folder, 'optimized-'));
  try {
    const path = join(folder, 'optimized.onnx');
    const session = await runtime.createSession(model, { threads: options.threads, optimizedModelPath: path });
    await session.release();
    return kernelsOf(await loadModel(path));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Counts kernels of a graph that ONNX Runtime has optimized. */
export function kernelsOf(optimized: Model): KernelCounts {
  let compute = 0;
  let integerCompute = 0;
  let kernels = 0;
  let integerKernels = 0;
  for (const graph of withSubgraphs(optimized.graph)) {
    const integers = new Set<string>();
    for (const node of graph.nodes) {
      if (node.opType === 'Constant') continue;
      kernels += 1;
      const isInteger =
        INTEGER_COMPUTE.test(node.opType) ||
        node.opType.startsWith('QLinear') ||
        // A pooling kernel works on integers when its input comes from one that does.
        (INTEGER_OTHER.test(node.opType) && integers.has(node.inputs[0] ?? ''));
      if (isInteger) integerKernels += 1;
      if (isInteger || node.opType === 'QuantizeLinear') node.outputs.forEach((name) => integers.add(name));
      if (INTEGER_COMPUTE.test(node.opType)) integerCompute += 1;
      if (FLOAT_COMPUTE.test(node.opType) || INTEGER_COMPUTE.test(node.opType)) compute += 1;
    }
  }
  return { compute, integerCompute, kernels, integerKernels };
}
