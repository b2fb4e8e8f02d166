import { decodeContainer, MAX_MODEL_BYTES } from '../sidecar/container.ts';
import { SPARSE } from '../sidecar/sparse.ts';

/**
 * The model file that a sidecar of `prune.unstructured` or `prune.pattern` (`sparse.tersors`) was made of, byte for byte. The
 * layout stands in docs/passes/prune-unstructured.md.
 *
 * @param maxBytes - the largest model file that is restored
 * @throws RangeError when the bytes are no such file, are damaged, break off, or hold a larger model
 */
export function decodeSparseModel(sidecar: Uint8Array, maxBytes = MAX_MODEL_BYTES): Uint8Array {
  return decodeContainer(sidecar, SPARSE, maxBytes);
}
