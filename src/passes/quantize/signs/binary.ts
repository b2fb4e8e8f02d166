import { definePass } from '../../pass.ts';
import { signPass } from './define-signs.ts';
import { BinaryOptions } from './options.ts';

/** Weights of one bit. */
export const quantizeBinary = definePass({
  ...signPass,
  name: 'quantize.binary',
  description:
    'Trains the model with weights of -1 and 1 times a magnitude, on request with signs for activations too, and stores one bit a weight',
  papers: [
    { title: 'Courbariaux et al., BinaryConnect, NeurIPS 2015', url: 'https://arxiv.org/abs/1511.00363' },
    {
      title:
        'Rastegari et al., XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks, ECCV 2016',
      url: 'https://arxiv.org/abs/1603.05279',
    },
    { title: 'Zhou et al., DoReFa-Net, 2016', url: 'https://arxiv.org/abs/1606.06160' },
    { title: 'Liu et al., Bi-Real Net, ECCV 2018', url: 'https://arxiv.org/abs/1808.00278' },
  ],
  options: BinaryOptions,
  example: { method: 'bwn', training: { epochs: 20, batchSize: 128, learningRate: 0.02 } },
});
