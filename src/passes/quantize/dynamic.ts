import { z } from 'zod';
import { describeNode, type Node } from '../../onnx/node.ts';
import { opsetOf } from '../../onnx/model.ts';
import { withSubgraphs } from '../../onnx/graph.ts';
import { definePass } from '../pass.ts';
import { DynamicQuantizer } from './dynamic-quantizer.ts';
import { filterNodes } from './node-filter.ts';
import { targetRules } from './target.ts';

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
  description: 'int8 weights, activations quantized at run time (MatMul, Gemm, Conv): needs no data',
  papers: [
    {
      title: 'Zafrir et al., Q8BERT: Quantized 8Bit BERT, 2019',
      url: 'https://arxiv.org/abs/1910.06188',
    },
  ],
  options: Options,
  example: { weights: 'int8', perChannel: true, exclude: [] },
  needs: () => [],
  requires(model) {
    const opset = opsetOf(model);
    if (opset >= 11) return undefined;
    return `DynamicQuantizeLinear needs opset 11, the model has ${opset}; run canonicalize first, which raises it`;
  },
  run(model, options, context) {
    const candidates: Node[] = [];
    for (const graph of withSubgraphs(model.graph)) candidates.push(...graph.nodes);
    const kept = filterNodes(candidates, { exclude: options.exclude });
    const rules = targetRules(context);
    const quantizer = new DynamicQuantizer(model, {
      type: options.weights,
      perChannel: options.perChannel,
      // uint8 * uint8 has its own kernels, which widen to int16 before they multiply: nothing saturates.
      range: options.weights === 'uint8' ? 'full' : rules.weightRange,
      refuse: ({ node }) => (kept.has(node) ? undefined : 'excluded by the recipe'),
    });
    quantizer.run();
    context.progress(1);
    return Promise.resolve({
      changes: quantizer.layers.length,
      skipped: quantizer.skipped,
      warnings: [],
      details: { target: context.targetCpu, targetExplanation: rules.explanation, layers: quantizer.layers },
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
