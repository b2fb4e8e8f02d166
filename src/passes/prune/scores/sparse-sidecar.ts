import { setImmediate } from 'node:timers/promises';
import { decodeModel } from '../../../onnx/codec/decode.ts';
import { encodeModel, modelRope } from '../../../onnx/codec/encode.ts';
import { byteLengthOf, type DataType } from '../../../onnx/data-type.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Tensor } from '../../../onnx/tensor.ts';
import { encodeContainer, MAX_MODEL_BYTES, type CodedPart } from '../../../sidecar/container.ts';
import { encodeSparse, SPARSE } from '../../../sidecar/sparse.ts';
import type { GroupPattern } from '../../../sidecar/sparse-positions.ts';
import type { PassArtifact, PassContext } from '../../pass.ts';
import type { SparsityPattern } from './choose-masks.ts';
import type { WeightTarget } from '../../layer-inputs/weight-targets.ts';

/** Name of the artifact that the option `sidecar` adds. */
export const SPARSE_SIDECAR_NAME = 'sparse.tersors';

export interface SparseSidecar {
  readonly artifact: PassArtifact;
  readonly details: Readonly<Record<string, number>>;
}

/**
 * The model file with its sparse float tensors (pruned now or before) as positions and values; src/sidecar has the layout.
 * O(bytes of the model); the event loop runs between tensors.
 *
 * @param pattern - what the weights were pruned to; n of m is coded as such
 * @throws CompressionError LIMIT_SIZE for a model that fits no protobuf
 */
export async function sparseSidecar(
  model: Model,
  { targets, pattern }: { readonly targets: readonly WeightTarget[]; readonly pattern: SparsityPattern | undefined },
  { signal }: Pick<PassContext, 'signal'>,
): Promise<SparseSidecar> {
  const groups = new Map(targets.map((target) => [target.name, groupPattern(target, pattern)]));
  const file = encodeModel(model);
  const parts: CodedPart[] = [];
  let positionBytes = 0;
  // Tensors of a decoded model are views into its file: that is where they stand.
  for (const tensor of decodeModel(file).graph.initializers.values()) {
    const width = widthOf(tensor.dataType);
    if (width === undefined || tensor.byteLength === 0) continue;
    await setImmediate();
    signal.throwIfAborted();
    const bytes = tensor.bytes();
    if (!isSparse(tensor, bytes)) continue;
    const { fields, code, positionBytes: own } = encodeSparse(bytes, width, groups.get(tensor.name));
    if (code.length >= bytes.length) continue;
    parts.push({ offset: bytes.byteOffset - file.byteOffset, byteLength: bytes.length, fields, code });
    positionBytes += own;
  }
  const bytes = encodeContainer(SPARSE.magic, file, parts);
  const codeBytes = parts.reduce((sum, { code }) => sum + code.length, 0);
  return {
    artifact: { name: SPARSE_SIDECAR_NAME, contentType: 'application/octet-stream', bytes },
    details: {
      bytes: bytes.length,
      modelBytes: file.length,
      tensors: parts.length,
      positionBytes,
      valueBytes: codeBytes - positionBytes,
      restBytes: bytes.length - codeBytes,
    },
  };
}

/** Why a model can have no sidecar: it is made of one file, whatever lies in external data. */
export function tooLargeForSidecar(model: Model): string | undefined {
  const { byteLength } = modelRope(model);
  if (byteLength <= MAX_MODEL_BYTES) return undefined;
  return `sidecar: the model takes ${byteLength} bytes, one file holds at most ${MAX_MODEL_BYTES}; leave sidecar out`;
}

function widthOf(type: DataType): 2 | 4 | undefined {
  if (!['float', 'float16', 'bfloat16'].includes(type)) return undefined;
  return byteLengthOf(type, 1) === 2 ? 2 : 4;
}

/** Share of zeros from which positions cost less than the zeros do. */
const SPARSE_SHARE = 1 / 16;

function isSparse(tensor: Tensor, bytes: Uint8Array): boolean {
  const width = bytes.length / tensor.elementCount;
  let zeros = 0;
  for (let at = 0; at < bytes.length; at += width) {
    let bits = 0;
    for (let place = 0; place < width; place += 1) bits |= bytes[at + place] ?? 0;
    if (bits === 0) zeros += 1;
  }
  return zeros >= SPARSE_SHARE * tensor.elementCount;
}

function groupPattern({ layout }: WeightTarget, pattern: SparsityPattern | undefined): GroupPattern | undefined {
  if (pattern?.kind !== 'n-of-m') return undefined;
  const { inputs, inputStride } = layout;
  return { axis: inputs, inner: inputStride, kept: pattern.m - pattern.zeros, group: pattern.m };
}
