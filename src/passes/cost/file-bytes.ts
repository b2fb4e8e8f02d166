import { encodeModel } from '../../onnx/codec/encode.ts';
import type { Model } from '../../onnx/model.ts';
import { Tensor } from '../../onnx/tensor.ts';
import { copyModel } from '../../training/copy-model.ts';

/** What an initializer takes in the file besides its name and its elements, at most. */
const TENSOR_OVERHEAD_BYTES = 32;

/** Weights above this are not encoded only to be counted. */
const ENCODED_BYTES = 2 ** 28;

/** The size of the file; of large models at most that, see `mostFileBytes`. */
export function fileBytes(model: Model): number {
  let bytes = 0;
  for (const tensor of model.graph.initializers.values()) bytes += tensor.byteLength;
  return bytes <= ENCODED_BYTES ? encodeModel(model).byteLength : mostFileBytes(model);
}

/** The encoded size, at most, without encoding the weights; those in external files count like those in the file. */
export function mostFileBytes(model: Model): number {
  const structure = copyModel(model);
  let bytes = 0;
  for (const [name, tensor] of structure.graph.initializers) {
    structure.graph.initializers.set(name, Tensor.float(name, [], [0]));
    bytes += tensor.byteLength + TENSOR_OVERHEAD_BYTES;
  }
  return bytes + encodeModel(structure).byteLength;
}
