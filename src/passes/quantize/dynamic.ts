import { z } from 'zod';
import { describeNode, type Node } from '../../onnx/node.ts';
import { opsetOf, type Model } from '../../onnx/model.ts';
import { withSubgraphs } from '../../onnx/graph.ts';
import { layersWithWeights } from '../layers-with-weights.ts';
import { definePass, type PassContext } from '../pass.ts';
import { inferTypes } from '../../onnx/inference/infer-types.ts';
import { CostModel, weightedWorkload } from '../cost/cost-model.ts';
import { FloatLatency } from '../cost/float-latency.ts';
import { DynamicQuantizer, dynamicLayers } from './dynamic-quantizer.ts';
import { filterNodes } from './node-filter.ts';
import { saturationRisk, targetRules } from './target.ts';

const Options = z.strictObject({
  weights: z.enum(['int8', 'uint8']).default('int8').describe('Integer type of the weights, symmetric around zero'),
  perChannel: z.boolean().default(true).describe('One scale an output channel instead of one a weight tensor'),
  exclude: z
    .array(z.string().min(1).max(256))
    .max(256)
    .default([])
    .describe('Node names or operator types to leave in float; * and ? are wildcards. Each must match a node'),
});

/** Weights in 8 bits; activations are quantized while the model runs, by the range of each input: no data needed. */
export const quantizeDynamic = definePass({
  name: 'quantize.dynamic',
  stage: 'quantize',
  description: 'int8 weights, activations quantized at run time (MatMul, Gemm, Conv, LSTM): needs no data',
  papers: [
    {
      title: 'Zafrir et al., Q8BERT: Quantized 8Bit BERT, 2019',
      url: 'https://arxiv.org/abs/1910.06188',
    },
  ],
  options: Options,
  example: { weights: 'int8', perChannel: true, exclude: [] },
  needs: () => [],
  layers: (model, options) => layersWithWeights(model, options, ['LSTM']),
  requires(model) {
    const opset = opsetOf(model);
    if (opset >= 11) return undefined;
    return `DynamicQuantizeLinear needs opset 11, the model has ${opset}; run canonicalize first, which raises it`;
  },
  run(model, options, context) {
    const nodes: Node[] = [];
    for (const graph of withSubgraphs(model.graph)) nodes.push(...graph.nodes);
    const kept = filterNodes(nodes, { exclude: options.exclude });
    const rules = targetRules(context);
    const slow = context.targetCpu === 'int8-only' ? new Map<Node, string>() : slowLayers(model, context);
    const quantizer = new DynamicQuantizer(model, {
      type: options.weights,
      perChannel: options.perChannel,
      // uint8 * uint8 has its own kernels, which widen to int16 before they multiply: nothing saturates.
      range: options.weights === 'uint8' ? 'full' : rules.weightRange,
      refuse: ({ node }) => (kept.has(node) ? slow.get(node) : 'excluded by the recipe'),
    });
    const changes = quantizer.run();
    context.progress(1);
    return Promise.resolve({
      changes,
      skipped: quantizer.skipped,
      warnings: [],
      details: {
        target: context.targetCpu,
        targetExplanation: rules.explanation,
        costTable: context.costTable.hash,
        saturationRisk: saturationRisk(
          quantizer.layers.filter((layer) => layer.canSaturate).map((layer) => layer.node),
        ),
        layers: quantizer.layers,
      },
    });
  },
  ensures(model) {
    for (const graph of withSubgraphs(model.graph)) {
      for (const node of graph.nodes) {
        if (node.opType === 'MatMulInteger' && node.inputs[2] === '') {
          return `${describeNode(node)} reads uint8 activations without their zero point`;
        }
      }
    }
    return undefined;
  },
});

/** Stands for a symbolic size other than the batch. */
const ASSUMED_SIZE = 64;
/** A product stays in float when int8 would cost this share of the layers' time; less is within the estimate's error. */
const WORTHWHILE = 0.01;

/** Layers that run-time quantization would make slower by the kernel cost table, with the reason in words. */
function slowLayers(model: Model, context: PassContext): Map<Node, string> {
  const costs = new CostModel(context.costTable);
  const floatTimes = new FloatLatency(context.costTable);
  const slow = new Map<Node, string>();
  if (costs.isEmpty) return slow;
  const types = inferTypes(model);
  const estimates = [...dynamicLayers({ graph: model.graph })].map(({ layer, graph }) => {
    const sizesOf = (value: string): readonly number[] | undefined =>
      types.shape(graph, value)?.map((size, axis) => (typeof size === 'number' ? size : axis === 0 ? 1 : ASSUMED_SIZE));
    const kernels = { conv: 'dynamic-conv', product: 'dynamic-matmul' } as const;
    const workload = weightedWorkload(layer.node, layer.dims, kernels, sizesOf);
    const estimate = workload === undefined ? undefined : costs.estimate(workload);
    if (estimate === undefined || layer.node.opType !== 'Conv') return { node: layer.node, estimate };
    const float = floatTimes.convolution(layer.node, (value) => graph.initializers.has(value), sizesOf);
    return { node: layer.node, estimate: { ...estimate, floatNs: float?.ns ?? estimate.floatNs } };
  });
  const total = estimates.reduce((sum, { estimate }) => sum + (estimate?.floatNs ?? 0), 0);
  for (const { node, estimate } of estimates) {
    // A small product may lose a little for its smaller weight; a small convolution has not even that to win.
    const tolerated = node.opType === 'Conv' ? 0 : WORTHWHILE * total;
    if (estimate === undefined || estimate.int8Ns - estimate.floatNs <= tolerated) continue;
    const times = `estimated ${(estimate.int8Ns / 1000).toFixed(1)} µs in int8, ${(estimate.floatNs / 1000).toFixed(1)} µs in float`;
    slow.set(node, `int8 would be slower here (${times}), by kernel cost table ${context.costTable.hash.slice(0, 12)}`);
  }
  return slow;
}
