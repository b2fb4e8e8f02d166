import type { WeightsOptions } from './options.ts';
import { needsUnsigned } from './quantize-weight.ts';
import { nbitsBytes, qdqBytes } from './stored-codes.ts';
import type { WeightSite } from './weight-site.ts';

/** Bytes of a weight as the options store it. */
export function bytesOf(site: WeightSite, { format, bits, symmetric, algorithm }: WeightsOptions): number {
  const scheme = { bits, symmetric };
  return format === 'matmulnbits' && site.kind === 'product'
    ? nbitsBytes(site.view, scheme, algorithm === 'hqq')
    : qdqBytes(site.view, scheme, needsUnsigned(site, format, scheme));
}

/** Why a site cannot be quantized as the options ask; undefined where it can. */
export function siteObstacle(site: WeightSite, options: WeightsOptions): string | undefined {
  return (options.format === 'matmulnbits' ? nbitsObstacle(site, options) : undefined) ?? sizeObstacle(site, options);
}

function sizeObstacle(site: WeightSite, options: WeightsOptions): string | undefined {
  const { tensor } = site.constant;
  const bytes = bytesOf(site, options);
  return bytes < tensor.byteLength
    ? undefined
    : `weight "${tensor.name}" takes ${tensor.byteLength} bytes, in ${options.bits} bits with its scales ${bytes}`;
}

function nbitsObstacle({ kind, node, constant: { tensor } }: WeightSite, { bits }: WeightsOptions): string | undefined {
  switch (kind) {
    case 'convolution':
    case 'recurrent':
      return `format matmulnbits has no operator for ${node.opType}; use format qdq`;
    case 'embedding':
      return bits === 2 ? 'GatherBlockQuantized has 4 and 8 bits, not 2; use format qdq' : undefined;
    case 'product':
      if (tensor.dims.length !== 2) {
        return `MatMulNBits takes a matrix, weight "${tensor.name}" has ${tensor.dims.length} axes; use format qdq`;
      }
      return node.int('transA', 0) === 0
        ? undefined
        : 'transA=1: MatMulNBits reads no transposed input; use format qdq';
  }
}
