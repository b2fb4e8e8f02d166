import { decodeSymbols } from '../numerics/range-coder.ts';
import { packIntegers } from '../onnx/packed-integers.ts';
import type { SidecarFormat } from './container.ts';

/**
 * Sidecar of cluster.weights. Fields of a tensor: number of indices; bits an index as stored in the file (4: two a byte, the
 * first in the low half; 8); number of centroids. Code: src/numerics/range-coder.ts.
 */
export const CLUSTERED: SidecarFormat = {
  magic: 'TERSORC1',
  pass: 'cluster.weights',
  byteLength([indices, bits, centroids]) {
    if ((bits !== 4 && bits !== 8) || centroids < 1 || centroids > 256) return undefined;
    return bits === 4 ? Math.ceil(indices / 2) : indices;
  },
  decode([count, bits, centroids], code) {
    const indices = decodeSymbols(code, count, centroids);
    return bits === 4 ? packIntegers('uint4', indices) : indices;
  },
};
