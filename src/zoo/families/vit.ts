import { z } from 'zod';
import { CompressionError } from '../../errors.ts';
import { commonOptions, defineArchitecture, inputOf } from '../architecture.ts';
import { NetworkBuilder, ZERO, type Feature } from '../network-builder.ts';
import type { Initialization } from '../weights.ts';

const EPSILON = 1e-6;
const POSITION: Initialization = { kind: 'normal', std: 0.02 };

const options = z
  .strictObject({
    ...commonOptions,
    patchSize: z.number().int().min(1).max(64).default(4).describe('Pixels of a side of a patch; 16 for 224 pixels'),
    width: z.number().int().min(8).max(4096).default(192).describe('Features of a token; a multiple of heads'),
    depth: z.number().int().min(1).max(64).default(6).describe('Encoder blocks'),
    heads: z.number().int().min(1).max(64).default(3).describe('Attention heads'),
    mlpRatio: z.number().min(0.5).max(16).default(4).describe('Hidden features of the dense layers over width'),
    pool: z.enum(['mean', 'token']).default('mean').describe('The logits see the mean of all tokens, or a class token'),
  })
  .refine(({ width, heads }) => width % heads === 0, { path: ['width'], error: 'must be a multiple of heads' });

export const vit = defineArchitecture({
  name: 'vit',
  description:
    'Vision transformer: patches as tokens, learned positions, normalization ahead of attention and dense layers',
  papers: [
    {
      title: 'Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021',
      url: 'https://arxiv.org/abs/2010.11929',
    },
  ],
  options,
  example: { patchSize: 4, width: 96, depth: 4, heads: 3, classes: 10 },
  references: [
    { name: 'ViT, 32 pixels', options: {} },
    {
      name: 'ViT-Ti/16, ImageNet',
      options: { patchSize: 16, depth: 12, pool: 'token', inputSize: 224, classes: 1000 },
    },
    {
      name: 'ViT-B/16, ImageNet',
      options: { patchSize: 16, width: 768, depth: 12, heads: 12, pool: 'token', inputSize: 224, classes: 1000 },
    },
  ],
  build(given, weights) {
    const { patchSize, width, depth, heads, classes, pool } = given;
    const network = new NetworkBuilder('vit', weights);
    const image = inputOf(network, given);
    if (image.height % patchSize !== 0 || image.width % patchSize !== 0) {
      const message = `must be a multiple of patchSize ${patchSize}, got ${image.height}x${image.width}`;
      const option = given.resolution === 'input' ? 'inputSize' : 'resolution';
      throw new CompressionError('RECIPE_INVALID', `${option} ${message}`, {
        places: [{ pointer: `/${option}`, message }],
      });
    }
    const std = Math.sqrt(1 / (image.channels * patchSize ** 2));
    const patches = network.conv('stem.conv', image, {
      channels: width,
      kernel: patchSize,
      stride: patchSize,
      padding: 0,
      bias: true,
      initialization: { kind: 'truncated-normal', std },
    });
    const tokens = new Tokens(network, width);
    let x = tokens.fromPatches(patches, pool === 'token');
    const hidden = Math.max(1, Math.round(width * given.mlpRatio));
    for (let block = 1; block <= depth; block += 1) x = tokens.encoderBlock(`block${block}`, x, { heads, hidden });
    x = tokens.norm('head.norm', x);
    const pooled: Feature = { value: tokens.pooled('head.pool', x, pool), channels: width, height: 1, width: 1 };
    const initialization: Initialization = { kind: 'truncated-normal', std: 0.02 };
    return network.finish(network.linear('head.fc', pooled, { channels: classes, initialization }));
  },
});

/** Layers on tokens [batch, tokens, width]. */
class Tokens {
  readonly #network: NetworkBuilder;
  readonly #width: number;

  constructor(network: NetworkBuilder, width: number) {
    this.#network = network;
    this.#width = width;
  }

  fromPatches(patches: Feature, hasClassToken: boolean): string {
    const network = this.#network;
    const count = patches.height * patches.width;
    const flat = network.op('Reshape', [patches.value, network.ints([0, this.#width, count])], 'stem.flatten');
    let x = network.op('Transpose', [flat], 'stem.tokens', { perm: [0, 2, 1] });
    if (hasClassToken) {
      const token = network.weight('stem.class_token', [1, 1, this.#width], ZERO);
      const batch = network.op('Shape', [x], 'stem.batch', { start: 0, end: 1 });
      const shape = network.op('Concat', [batch, network.ints([1, this.#width])], 'stem.token_shape', { axis: 0 });
      const expanded = network.op('Expand', [token, shape], 'stem.class_tokens');
      x = network.op('Concat', [expanded, x], 'stem.concat', { axis: 1 });
    }
    const dims = [1, hasClassToken ? count + 1 : count, this.#width];
    return network.op('Add', [x, network.weight('stem.position', dims, POSITION)], 'stem.add');
  }

  encoderBlock(
    name: string,
    x: string,
    { heads, hidden }: { readonly heads: number; readonly hidden: number },
  ): string {
    const network = this.#network;
    const attended = this.#attention(`${name}.attention`, this.norm(`${name}.norm1`, x), heads);
    const middle = network.op('Add', [x, attended], `${name}.add1`);
    let y = this.#dense(`${name}.mlp.fc1`, this.norm(`${name}.norm2`, middle), { from: this.#width, to: hidden });
    y = network.op('Gelu', [y], `${name}.mlp.gelu`);
    y = this.#dense(`${name}.mlp.fc2`, y, { from: hidden, to: this.#width });
    return network.op('Add', [middle, y], `${name}.add2`);
  }

  norm(name: string, x: string): string {
    const gamma = this.#network.weight(`${name}.weight`, [this.#width], { kind: 'constant', value: 1 });
    const beta = this.#network.weight(`${name}.bias`, [this.#width], ZERO);
    return this.#network.op('LayerNormalization', [x, gamma, beta], name, { axis: -1, epsilon: EPSILON });
  }

  pooled(name: string, x: string, pool: 'mean' | 'token'): string {
    const network = this.#network;
    if (pool === 'mean') return network.op('ReduceMean', [x, network.ints([1])], name, { keepdims: 0 });
    return network.op('Gather', [x, network.index('first_token', 0)], name, { axis: 1 });
  }

  /** softmax(Q Kᵀ / sqrt(d)) V by heads. */
  #attention(name: string, x: string, heads: number): string {
    const network = this.#network;
    const size = this.#width / heads;
    const qkv = this.#dense(`${name}.qkv`, x, { from: this.#width, to: 3 * this.#width });
    const parts = network.graph.ops('Split', [qkv], 3, {
      name: `${name}.split`,
      attributes: { axis: 2, num_outputs: 3 },
    });
    const [query = '', key = '', value = ''] = parts.map((part, index) => {
      const which = ['query', 'key', 'value'][index] ?? '';
      const byHead = network.op('Reshape', [part, network.ints([0, -1, heads, size])], `${name}.${which}.reshape`);
      const perm = which === 'key' ? [0, 2, 3, 1] : [0, 2, 1, 3];
      return network.op('Transpose', [byHead], `${name}.${which}`, { perm });
    });
    const scaled = network.op('Mul', [query, network.scalar('attention.scale', 1 / Math.sqrt(size))], `${name}.scale`);
    const scores = network.op('MatMul', [scaled, key], `${name}.scores`);
    const shares = network.op('Softmax', [scores], `${name}.softmax`, { axis: -1 });
    const mixed = network.op('MatMul', [shares, value], `${name}.mix`);
    const merged = network.op('Transpose', [mixed], `${name}.merge`, { perm: [0, 2, 1, 3] });
    const flat = network.op('Reshape', [merged, network.ints([0, -1, this.#width])], `${name}.flatten`);
    return this.#dense(`${name}.out`, flat, { from: this.#width, to: this.#width });
  }

  /** x W + b with W [from, to]; Xavier uniform. */
  #dense(name: string, x: string, { from, to }: { readonly from: number; readonly to: number }): string {
    const network = this.#network;
    const weight = network.weight(`${name}.weight`, [from, to], { kind: 'uniform', bound: Math.sqrt(6 / (from + to)) });
    const product = network.op('MatMul', [x, weight], name);
    return network.op('Add', [product, network.weight(`${name}.bias`, [to], ZERO)], `${name}.add`);
  }
}
