import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { withSubgraphs } from '../onnx/graph.ts';
import type { Model } from '../onnx/model.ts';
import { throwIfAborted } from './accuracy.ts';
import { constantRoles, countWeight } from './stored-weights.ts';

/** Compressing more than this takes minutes and says little that the plain size does not. */
const MAX_COMPRESSED_INPUT_BYTES = 2 ** 30;

export interface FileSizes {
  /** The model file and the external data it names, each file once. */
  readonly bytes: number;
  /** All files through one general-purpose compressor, as they would travel; absent above 1 GiB. */
  readonly bytesCompressed?: number;
  readonly compression?: 'zstd' | 'gzip';
}

/**
 * Sizes on disk of a model whose file is `path`; external data lies beside it.
 *
 * @throws CompressionError CANCELED when the signal fires
 */
export async function measureFile(path: string, model: Model, signal?: AbortSignal): Promise<FileSizes> {
  const files = [path, ...[...externalLocations(model)].map((location) => join(dirname(path), location))];
  let bytes = 0;
  for (const file of files) bytes += (await stat(file)).size;
  if (bytes > MAX_COMPRESSED_INPUT_BYTES) return { bytes };
  let bytesCompressed = 0;
  let compression: 'zstd' | 'gzip' = 'gzip';
  for (const file of files) {
    throwIfAborted(signal);
    const compressor = makeCompressor();
    compression = compressor.name;
    const counter = new Writable({
      write(chunk: Uint8Array, _encoding, done) {
        bytesCompressed += chunk.byteLength;
        done();
      },
    });
    await pipeline(createReadStream(file), compressor.stream, counter);
  }
  return { bytes, bytesCompressed, compression };
}

/** Node 22.15 and later have zstd. */
function makeCompressor(): { name: 'zstd' | 'gzip'; stream: NodeJS.ReadWriteStream } {
  const create: unknown = (zlib as { createZstdCompress?: unknown }).createZstdCompress;
  return typeof create === 'function'
    ? { name: 'zstd', stream: (create as () => NodeJS.ReadWriteStream)() }
    : { name: 'gzip', stream: zlib.createGzip() };
}

function externalLocations(model: Model): Set<string> {
  const locations = new Set<string>();
  for (const graph of withSubgraphs(model.graph)) {
    for (const tensor of graph.initializers.values()) {
      if (tensor.storage.kind === 'external') locations.add(tensor.storage.file.location);
    }
  }
  return locations;
}

export interface ParameterCounts {
  /** Numbers the network learned: constants that are neither shapes nor quantization scales and zero points. */
  readonly parameters: number;
  /** Absent when the layout of some weight is not read here; `unread` names them. */
  readonly nonzeroParameters?: number;
  /** Share 0..1 of parameters that are exactly zero. */
  readonly sparsity?: number;
  /**
   * Bytes of the weights alone if each were stored as a bitmap (one bit an element) and its nonzero values, where that is
   * smaller than dense. Absent where it is smaller for none: the file itself is dense, as ONNX Runtime needs it.
   */
  readonly bytesSparse?: number;
  /** Bits that parameters take, their scales and zero points included, over their number. */
  readonly effectiveBitsPerWeight?: number;
  readonly unread: readonly string[];
}

/** Counts the parameters of a model, those of its subgraphs included. Reads each weight once; O(parameters). */
export function countParameters(model: Model): ParameterCounts {
  let parameters = 0;
  let zeros = 0;
  let bytes = 0;
  let weightBytes = 0;
  let sparseBytes = 0;
  const unread: string[] = [];
  for (const graph of withSubgraphs(model.graph)) {
    const { weights, quantizationTensors } = constantRoles(graph);
    for (const weight of weights.values()) {
      const count = countWeight(weight);
      parameters += count.elements;
      const own = weight.tensor.byteLength;
      bytes += own;
      weightBytes += own;
      sparseBytes += Math.min(own, bitmapBytes(count, own));
      if (count.zeros === undefined) unread.push(weight.tensor.name);
      else zeros += count.zeros;
    }
    if (weights.size > 0) for (const tensor of quantizationTensors.values()) bytes += tensor.byteLength;
  }
  if (parameters === 0) return { parameters, unread };
  return {
    parameters,
    unread,
    effectiveBitsPerWeight: (8 * bytes) / parameters,
    ...(sparseBytes < weightBytes ? { bytesSparse: Math.ceil(sparseBytes) } : {}),
    ...(unread.length > 0 ? {} : { nonzeroParameters: parameters - zeros, sparsity: zeros / parameters }),
  };
}

/** One bit an element and the values that are not zero. */
function bitmapBytes({ elements, zeros }: { elements: number; zeros: number | undefined }, bytes: number): number {
  if (zeros === undefined || elements === 0) return bytes;
  return Math.ceil(elements / 8) + ((elements - zeros) * bytes) / elements;
}
