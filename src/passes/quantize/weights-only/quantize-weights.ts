import { setImmediate } from 'node:timers/promises';
import type { Model } from '../../../onnx/model.ts';
import { opsetOf } from '../../../onnx/model.ts';
import { definePass, type PassContext, type PassResult, type Skipped } from '../../pass.ts';
import { nodeLabel } from '../node-filter.ts';
import { findWeights } from './find-sites.ts';
import { WeightsOptions } from './options.ts';
import { needsUnsigned, quantizeWeight, type WeightFormat } from './quantize-weight.ts';
import { rtnRows } from './rtn.ts';
import { nbitsBytes, qdqBytes } from './stored-codes.ts';
import type { WeightSite } from './weight-site.ts';
import { WeightWriter } from './weight-writer.ts';

/** Weights in 8, 4 or 2 bits, in blocks with a scale each; activations stay in float. */
export const quantizeWeights = definePass({
  name: 'quantize.weights',
  stage: 'quantize',
  description: 'Weights alone in 8, 4 or 2 bits, in blocks with a scale each; activations stay in float',
  papers: [
    {
      title:
        'Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, ICLR 2023',
      url: 'https://arxiv.org/abs/2210.17323',
    },
  ],
  options: WeightsOptions,
  example: { bits: 4, blockSize: 32 },
  needs: () => [],
  requires(model, { format, bits }) {
    const needed = format === 'qdq' ? (bits === 2 ? 25 : 21) : 1;
    const opset = opsetOf(model);
    if (opset >= needed) return undefined;
    return `format qdq with ${bits} bits needs opset ${needed}, the model has ${opset}; put { "pass": "canonicalize", "opset": ${needed} } ahead, or use format matmulnbits`;
  },
  run: quantizeModel,
  ensures: () => undefined,
});

async function quantizeModel(model: Model, options: WeightsOptions, context: PassContext): Promise<PassResult> {
  const { bits, symmetric, blockSize, format } = options;
  const scheme = { bits, symmetric };
  const store: WeightFormat = { format, scheme, floatZeros: false, spool: context.spool };
  const { weights, skipped } = findWeights(model, {
    blockSize,
    filter: { include: options.include, exclude: options.exclude },
    obstacle: (site) => obstacle(site, options),
  });
  const writer = new WeightWriter(model, options);
  const layers: unknown[] = [];
  const left: Skipped[] = [...skipped];
  for (const [index, { sites }] of weights.entries()) {
    const [site] = sites;
    if (site === undefined) continue;
    // Between weights the event loop runs, so that a cancel arrives.
    await setImmediate();
    const { tensor } = site.constant;
    context.progress(index / weights.length, `quantizing ${tensor.name}`);
    const result = quantizeWeight(site, store, (values, view) => rtnRows(values, view, scheme), context.signal);
    if ('reason' in result) {
      for (const { node } of sites) left.push({ node: nodeLabel(node), reason: result.reason });
      continue;
    }
    writer.write(sites, result.stored);
    const { error, energy } = result.lost;
    layers.push({
      nodes: sites.map(({ node }) => nodeLabel(node)),
      operator: site.node.opType,
      weight: tensor.name,
      shape: tensor.dims,
      bits,
      error: energy > 0 ? error / energy : 0,
      bytes: { before: tensor.byteLength, after: bytesOf(site, options) },
    });
  }
  context.progress(1);
  return { changes: layers.length, skipped: left, warnings: [], details: { layers } };
}

function bytesOf(site: WeightSite, { format, bits, symmetric }: WeightsOptions): number {
  const scheme = { bits, symmetric };
  return format === 'matmulnbits' && site.kind === 'product'
    ? nbitsBytes(site.view, scheme, false)
    : qdqBytes(site.view, scheme, needsUnsigned(site, format, scheme));
}

function obstacle(site: WeightSite, options: WeightsOptions): string | undefined {
  return (options.format === 'matmulnbits' ? nbitsObstacle(site, options) : undefined) ?? sizeObstacle(site, options);
}

function sizeObstacle(site: WeightSite, options: WeightsOptions): string | undefined {
  const { tensor } = site.constant;
  const bytes = bytesOf(site, options);
  return bytes < tensor.byteLength
    ? undefined
    : `weight "${tensor.name}" takes ${tensor.byteLength} bytes, in ${options.bits} bits with its scales ${bytes}`;
}

function nbitsObstacle({ kind, node, constant: { tensor } }: WeightSite, { bits }: WeightsOptions): string | undefined {
  switch (kind) {
    case 'convolution':
    case 'recurrent':
      return `format matmulnbits has no operator for ${node.opType}; use format qdq`;
    case 'embedding':
      return bits === 2 ? 'GatherBlockQuantized has 4 and 8 bits, not 2; use format qdq' : undefined;
    case 'product':
      if (tensor.dims.length !== 2) {
        return `MatMulNBits takes a matrix, weight "${tensor.name}" has ${tensor.dims.length} axes; use format qdq`;
      }
      return node.int('transA', 0) === 0
        ? undefined
        : 'transA=1: MatMulNBits reads no transposed input; use format qdq';
  }
}
