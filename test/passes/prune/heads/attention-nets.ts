import { GraphBuilder } from '../../../../src/onnx/graph-builder.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { weight } from '../../quantize/helpers.ts';

/** Small networks [batch, tokens, width] with one attention each, written as different exporters write it. */

interface Sizes {
  readonly heads: number;
  readonly size: number;
  readonly width: number;
  readonly tokens: number;
}

class Net {
  readonly b = new GraphBuilder('net');
  readonly sizes: Sizes;
  #seed: number;

  constructor(sizes: Sizes, seed: number) {
    this.sizes = sizes;
    this.#seed = seed;
  }

  op(opType: string, inputs: readonly string[], attributes: Record<string, number | number[]> = {}, name?: string) {
    return this.b.op(opType, inputs, { attributes, ...(name === undefined ? {} : { name }) });
  }

  weight(name: string, dims: readonly number[]): string {
    this.#seed += 1;
    return this.b.initializer(weight(name, dims, this.#seed, 0.5));
  }

  dense(name: string, x: string, from: number, to: number): string {
    const product = this.op('MatMul', [x, this.weight(`${name}_w`, [from, to])], {}, name);
    return this.op('Add', [this.weight(`${name}_b`, [to]), product]);
  }

  shares(q: string, k: string, bias?: string): string {
    const scaled = this.op('Div', [this.op('MatMul', [q, k]), this.b.float('scale', Math.sqrt(this.sizes.size))]);
    return this.op('Softmax', [bias === undefined ? scaled : this.op('Add', [scaled, bias])], { axis: -1 });
  }

  finish(x: string, y: string): Model {
    const { width, tokens } = this.sizes;
    const sum = this.op('Add', [x, this.dense('out', y, this.sizes.heads * this.sizes.size, width)]);
    this.b.output(this.op('Relu', [sum]), 'y', 'float', ['batch', tokens, width]);
    return this.b.model(21);
  }

  input(): string {
    return this.b.input('x', 'float', ['batch', this.sizes.tokens, this.sizes.width]);
  }
}

/** Three layers; shapes joined from a computed batch size and constants; a mask that broadcasts over the heads. */
export function separate(sizes: Sizes, seed: number): Model {
  const net = new Net(sizes, seed);
  const { heads, size, width, tokens } = sizes;
  const x = net.input();
  const batch = net.op('Shape', [x], { start: 0, end: 1 });
  const shape = net.op('Concat', [batch, net.b.ints('t', [tokens]), net.b.ints('hd', [heads, size])], { axis: 0 });
  const part = (name: string, perm: number[]) =>
    net.op('Transpose', [net.op('Reshape', [net.dense(name, x, width, heads * size), shape])], { perm });
  const [q, k, v] = [part('q', [0, 2, 1, 3]), part('k', [0, 2, 3, 1]), part('v', [0, 2, 1, 3])];
  const mixed = net.op('MatMul', [net.shares(q, k, net.weight('mask', [1, 1, 1, tokens])), v], {}, 'mix');
  const flatShape = net.op('Concat', [batch, net.b.ints('t2', [tokens, heads * size])], { axis: 0 });
  return net.finish(x, net.op('Reshape', [net.op('Transpose', [mixed], { perm: [0, 2, 1, 3] }), flatShape]));
}

/** As a decoder with a cache has it: past keys and values are inputs, the new ones outputs, joined along the positions. */
export function cached(sizes: Sizes, seed: number): Model {
  const net = new Net(sizes, seed);
  const { heads, size, width, tokens } = sizes;
  const x = net.input();
  const part = (name: string) => {
    const split = net.op('Reshape', [
      net.dense(name, x, width, heads * size),
      net.b.ints('shape', [0, 0, heads, size]),
    ]);
    return net.op('Transpose', [split], { perm: [0, 2, 1, 3] });
  };
  const withPast = (name: string) => {
    const past = net.b.input(`past_${name}`, 'float', ['batch', heads, 'past', size]);
    const present = net.op('Concat', [past, part(name)], { axis: 2 });
    net.b.output(present, `present_${name}`, 'float', ['batch', heads, 'all', size]);
    return present;
  };
  const q = part('q');
  const k = net.op('Transpose', [withPast('k')], { perm: [0, 1, 3, 2] });
  const mixed = net.op('MatMul', [net.shares(q, k), withPast('v')], {}, 'mix');
  const joined = net.op('Transpose', [mixed], { perm: [0, 2, 1, 3] });
  return net.finish(x, net.op('Reshape', [joined, net.b.ints('flat', [0, tokens, heads * size])]));
}

/** One layer for all three, parts picked by Gather; a learned bias for each head. */
export function fused(sizes: Sizes, seed: number): Model {
  const net = new Net(sizes, seed);
  const { heads, size, width, tokens } = sizes;
  const x = net.input();
  const qkv = net.dense('qkv', x, width, 3 * heads * size);
  const parts = net.op('Reshape', [qkv, net.b.ints('s', [-1, tokens, 3, heads, size])]);
  const stacked = net.op('Transpose', [parts], { perm: [2, 0, 3, 1, 4] });
  const [q = '', k = '', v = ''] = [0, 1, 2].map((i) =>
    net.op('Squeeze', [net.op('Gather', [stacked, net.b.ints('i', [i])], { axis: 0 }), net.b.ints('z', [0])]),
  );
  const shares = net.shares(
    q,
    net.op('Transpose', [k], { perm: [0, 1, 3, 2] }),
    net.weight('bias', [heads, tokens, tokens]),
  );
  const mixed = net.op('Transpose', [net.op('MatMul', [shares, v], {}, 'mix')], { perm: [0, 2, 1, 3] });
  return net.finish(x, net.op('Reshape', [mixed, net.b.ints('f', [0, 0, heads * size])]));
}

/** Batch and heads in one axis, tokens first, as torch.nn.MultiheadAttention exports it; parts by Slice. */
export function batched(sizes: Sizes, seed: number): Model {
  const net = new Net(sizes, seed);
  const { heads, size, width, tokens } = sizes;
  const x = net.input();
  const all = heads * size;
  const qkv = net.op('Transpose', [net.dense('qkv', x, width, 3 * all)], { perm: [1, 0, 2] });
  const shape = net.b.ints('s', [tokens, -1, size]);
  const [q = '', k = '', v = ''] = [0, 1, 2].map((i) => {
    const bounds = [net.b.ints('from', [i * all]), net.b.ints('to', [i === 2 ? 2 ** 40 : (i + 1) * all])];
    const part = net.op('Slice', [qkv, ...bounds, net.b.ints('axes', [-1])]);
    return net.op('Transpose', [net.op('Reshape', [part, shape])], { perm: i === 1 ? [1, 2, 0] : [1, 0, 2] });
  });
  const mixed = net.op('Transpose', [net.op('MatMul', [net.shares(q, k), v], {}, 'mix')], { perm: [1, 0, 2] });
  const flat = net.op('Reshape', [mixed, net.b.ints('f', [tokens, -1, all])]);
  return net.finish(x, net.op('Transpose', [flat], { perm: [1, 0, 2] }));
}

/** Two query heads to each head of keys and values. */
export function grouped(sizes: Sizes, seed: number): Model {
  const net = new Net(sizes, seed);
  const { heads, size, width, tokens } = sizes;
  const x = net.input();
  const shared = heads / 2;
  const part = (name: string, count: number) => {
    const byHead = net.op('Reshape', [
      net.dense(name, x, width, count * size),
      net.b.ints('s', [0, tokens, count, size]),
    ]);
    return net.op('Transpose', [byHead], { perm: [0, 2, 1, 3] });
  };
  const repeated = (value: string) => {
    const wide = net.op('Unsqueeze', [value, net.b.ints('axis', [2])]);
    const expanded = net.op('Expand', [wide, net.b.ints('e', [1, shared, 2, tokens, size])]);
    return net.op('Reshape', [expanded, net.b.ints('r', [-1, heads, tokens, size])]);
  };
  const [q, k, v] = [part('q', heads), repeated(part('k', shared)), repeated(part('v', shared))];
  const shares = net.shares(q, net.op('Transpose', [k], { perm: [0, 1, 3, 2] }));
  const mixed = net.op('Transpose', [net.op('MatMul', [shares, v], {}, 'mix')], { perm: [0, 2, 1, 3] });
  return net.finish(x, net.op('Reshape', [mixed, net.b.ints('f', [0, tokens, -1])]));
}

/** No attention: a gated block, down(silu(gate(x)) * up(x)), and a Gemm pair behind a Flatten. */
export function gated(width: number, hidden: number, seed: number): Model {
  const net = new Net({ heads: 1, size: hidden, width, tokens: 3 }, seed);
  const x = net.input();
  const gate = net.dense('gate', x, width, hidden);
  const up = net.dense('up', x, width, hidden);
  const both = net.op('Mul', [net.op('Mul', [gate, net.op('Sigmoid', [gate])]), up]);
  return net.finish(x, both);
}
