import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { writeModel } from '../../src/onnx/codec/write.ts';
import { externalFileAt } from '../../src/onnx/codec/external-file.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { Tensor, type ExternalFile } from '../../src/onnx/tensor.ts';

export interface TransformerShape {
  readonly layers: number;
  readonly width: number;
  readonly hidden: number;
  readonly vocabulary: number;
}

/** LLaMA-7B's layers, as many as it takes for about so many bytes of float weights. */
export function shapeOfBytes(bytes: number): TransformerShape {
  const scale = bytes < 4e9 ? 2 : 1;
  const [width, hidden, vocabulary] = [4096 / scale, 11008 / scale, 32000 / scale];
  const perLayer = 4 * (4 * width * width + 3 * width * hidden);
  const layers = Math.max(1, Math.round((bytes - 4 * vocabulary * width) / perLayer));
  return { layers, width, hidden, vocabulary };
}

/**
 * Writes a transformer-shaped model with pseudo-random weights and external data: embedding, and for each layer a normalization,
 * four products of the width, a gate. Attention is left out: it has no weights.
 *
 * @returns path of the model; its data lies beside it
 */
export async function writeTransformer(folder: string, shape: TransformerShape): Promise<string> {
  const { layers, width, hidden, vocabulary } = shape;
  const elements = vocabulary * width + layers * (4 * width * width + 3 * width * hidden);
  const data = join(folder, 'source.bin');
  writeNoise(data, elements * 4);
  const weights = new Weights(externalFileAt('source.bin', data));
  const b = new GraphBuilder('transformer');
  const ids = b.input('ids', 'int64', ['batch', 'sequence']);
  let x = b.op('Gather', [b.initializer(weights.next('embedding', [vocabulary, width])), ids], { name: 'embed' });
  const product = (from: string, name: string, dims: readonly number[]): string =>
    b.op('MatMul', [from, b.initializer(weights.next(`${name}.weight`, dims))], { name });
  for (let layer = 0; layer < layers; layer += 1) {
    const norm = (name: string, value: string): string =>
      b.op('LayerNormalization', [
        value,
        b.initializer(Tensor.float(`${layer}.${name}`, new Float32Array(width).fill(1))),
      ]);
    let h = norm('norm1', x);
    const [q, k, v] = ['q', 'k', 'v'].map((name) => product(h, `${layer}.${name}`, [width, width]));
    const mixed = b.op('Add', [b.op('Mul', [q ?? '', k ?? '']), v ?? '']);
    x = b.op('Add', [x, product(mixed, `${layer}.o`, [width, width])]);
    h = norm('norm2', x);
    const gate = b.op('Sigmoid', [product(h, `${layer}.gate`, [width, hidden])]);
    const open = b.op('Mul', [gate, product(h, `${layer}.up`, [width, hidden])]);
    x = b.op('Add', [x, product(open, `${layer}.down`, [hidden, width])]);
  }
  b.output(x, 'y', 'float', ['batch', 'sequence', width]);
  const path = join(folder, 'model.onnx');
  await writeModel(b.model(21), path, { externalData: { location: 'model.onnx.data', thresholdBytes: 65536 } });
  return path;
}

/** Hands out consecutive stretches of one file. */
class Weights {
  readonly #file: ExternalFile;
  #offset = 0;

  constructor(file: ExternalFile) {
    this.#file = file;
  }

  next(name: string, dims: readonly number[]): Tensor {
    const byteLength = 4 * dims.reduce((product, size) => product * size, 1);
    const storage = { kind: 'external', file: this.#file, offset: this.#offset, byteLength } as const;
    this.#offset += byteLength;
    return new Tensor({ name, dataType: 'float', dims, storage });
  }
}

/** Sums of uniform numbers, about normal, in a stretch of an odd number of values that is repeated. */
function writeNoise(path: string, byteLength: number): void {
  const values = new Float32Array(2 ** 22 - 3);
  let state = 1;
  for (let i = 0; i < values.length; i += 1) {
    let sum = 0;
    for (let j = 0; j < 4; j += 1) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += state / 2 ** 31 - 1;
    }
    values[i] = sum * 0.02;
  }
  const bytes = new Uint8Array(values.buffer);
  const file = openSync(path, 'w');
  for (let done = 0; done < byteLength;) done += writeSync(file, bytes, 0, Math.min(bytes.length, byteLength - done));
  closeSync(file);
}
