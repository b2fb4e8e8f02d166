import { z } from 'zod';

const globs = z.array(z.string().min(1).max(256)).max(256);

const ALGORITHMS = ['rtn', 'k-quant', 'hqq', 'gptq', 'awq'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export const WeightsOptions = z.strictObject({
  bits: z
    .union([z.literal(8), z.literal(4), z.literal(2)])
    .default(4)
    .describe('Bits of a weight: 8, 4 or 2'),
  blockSize: z
    .union([z.literal(16), z.literal(32), z.literal(64), z.literal(128), z.literal(256)])
    .default(32)
    .describe('Weights along a row that share a scale; smaller is more accurate and takes more bytes'),
  symmetric: z
    .boolean()
    .default(false)
    .describe('Codes centred on zero, without zero points: a little smaller, less accurate'),
  algorithm: z.enum(ALGORITHMS).default('rtn').describe('rtn: round to nearest'),
  format: z
    .enum(['matmulnbits', 'qdq'])
    .default('matmulnbits')
    .describe(
      'matmulnbits: operators of ONNX Runtime that compute on the codes, for products and embeddings; qdq: standard DequantizeLinear in front of each weight, for convolutions and recurrent nodes, too',
    ),
  accuracyLevel: z
    .union([z.literal(0), z.literal(4)])
    .default(0)
    .describe(
      'How MatMulNBits computes: 0 in float; 4 with inputs quantized to int8 while running, several times faster',
    ),
  actOrder: z
    .boolean()
    .default(true)
    .describe('gptq: rounds the weights of the strongest inputs first, while there are others to take up the error'),
  damping: z
    .number()
    .min(0.01)
    .max(1)
    .default(0.01)
    .describe('gptq: share of the mean diagonal added to the diagonal of the moments of the inputs'),
  clipSearch: z
    .boolean()
    .default(true)
    .describe(
      'awq: tries for each block how far to clip its weights once the scales are chosen, and clips where the outputs change less',
    ),
  include: globs.min(1).optional().describe('Only these node names or operator types; * and ? are wildcards'),
  exclude: globs.default([]).describe('Node names or operator types to leave in float; * and ? are wildcards'),
});
export type WeightsOptions = z.output<typeof WeightsOptions>;
