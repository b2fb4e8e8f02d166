import { CLUSTERED } from '../sidecar/clustered.ts';
import { decodeContainer, MAX_MODEL_BYTES } from '../sidecar/container.ts';

/**
 * The model file that a sidecar of `cluster.weights` (`clustered.tersorc`) was made of, byte for byte. The layout stands in
 * docs/passes/cluster-weights.md.
 *
 * @param maxBytes - the largest model file that is restored
 * @throws RangeError when the bytes are no such file, are damaged, break off, or hold a larger model
 */
export function decodeClusteredModel(sidecar: Uint8Array, maxBytes = MAX_MODEL_BYTES): Uint8Array {
  return decodeContainer(sidecar, CLUSTERED, maxBytes);
}
