import { z } from 'zod';

const globs = z.array(z.string().min(1).max(256)).max(256);

/** Which layers a pruning step works on. */
export const layerFields = {
  exclude: globs
    .default([])
    .describe('Layers to leave dense: node names or operator types (Conv, Gemm, MatMul); * and ? are wildcards'),
  include: globs.min(1).optional().describe('Only these node names or operator types; * and ? are wildcards'),
};

/** Share of weights that become zero. 1 would leave nothing of any layer. */
export const sparsityField = z
  .number()
  .gt(0)
  .lt(1, { error: 'must be less than 1: a layer without a single weight computes a constant' });

export const PAPERS = [
  {
    title: 'Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015',
    url: 'https://arxiv.org/abs/1506.02626',
  },
  {
    title: 'Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021',
    url: 'https://arxiv.org/abs/2010.07611',
  },
] as const;
