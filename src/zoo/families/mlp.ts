import { z } from 'zod';
import { commonOptions, defineArchitecture, dropoutOption, inputOf } from '../architecture.ts';
import { heFanIn, NetworkBuilder } from '../network-builder.ts';

const options = z.strictObject({
  ...commonOptions,
  depth: z.number().int().min(0).max(64).default(2).describe('Hidden layers; 0 is logistic regression'),
  width: z.number().int().min(1).max(16384).default(256).describe('Features of each hidden layer'),
  dropout: dropoutOption.describe('Share of features dropped behind each hidden layer, in training only'),
});

export const mlp = defineArchitecture({
  name: 'mlp',
  description: 'Dense layers with ReLU on the flattened input',
  papers: [
    {
      title: 'Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, Nature 1986',
      url: 'https://doi.org/10.1038/323533a0',
    },
  ],
  options,
  example: { depth: 2, width: 128, inputSize: 28, inputChannels: 1 },
  references: [{ name: 'MLP 300-300, 28 pixels grey', options: { width: 300, inputSize: 28, inputChannels: 1 } }],
  build(given, weights) {
    const { depth, width, classes } = given;
    const network = new NetworkBuilder('mlp', weights);
    let x = network.flatten('flatten', inputOf(network, given));
    for (let layer = 1; layer <= depth; layer += 1) {
      x = network.linear(`hidden${layer}.fc`, x, { channels: width, initialization: heFanIn(x.channels) });
      x = network.dropout(`hidden${layer}.dropout`, network.relu(`hidden${layer}.relu`, x), given.dropout);
    }
    return network.finish(network.linear('head.fc', x, { channels: classes }));
  },
});
