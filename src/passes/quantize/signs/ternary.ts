import { definePass } from '../../pass.ts';
import { signPass } from './define-signs.ts';
import { TernaryOptions } from './options.ts';

/** Weights of three values. */
export const quantizeTernary = definePass({
  ...signPass,
  name: 'quantize.ternary',
  description: 'Trains the model with weights of three values, zero among them, and stores two bits a weight',
  papers: [
    { title: 'Li et al., Ternary Weight Networks, 2016', url: 'https://arxiv.org/abs/1605.04711' },
    { title: 'Zhu et al., Trained Ternary Quantization, ICLR 2017', url: 'https://arxiv.org/abs/1612.01064' },
  ],
  options: TernaryOptions,
  example: { method: 'twn', training: { epochs: 20, batchSize: 128, learningRate: 0.02 } },
});
