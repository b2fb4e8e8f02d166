import type { TensorSpool } from '../../../onnx/codec/tensor-spool.ts';
import type { Tensor } from '../../../onnx/tensor.ts';
import { allFinite } from '../weights.ts';
import { rowCount } from './block-view.ts';
import { addError, type BlockScheme, type RowQuantizer, type SquaredError } from './quantized-rows.ts';
import { RowReader } from './read-rows.ts';
import { NBitsStore, QdqStore, type CodeStore, type StoredCodes } from './stored-codes.ts';
import type { WeightSite } from './weight-site.ts';

/** Bytes of float weights that are worked on at a time: what memory a weight of any size takes. */
const STRIPE_BYTES = 32 * 2 ** 20;

export interface WeightFormat {
  readonly format: 'matmulnbits' | 'qdq';
  readonly scheme: BlockScheme;
  readonly floatZeros: boolean;
  readonly spool: TensorSpool | undefined;
}

/** A new store for a weight, in the layout that the site's operator reads. */
export function storeFor(site: WeightSite, { format, scheme, floatZeros, spool }: WeightFormat): CodeStore {
  const { view, constant, axis, isBlocked } = site;
  const options = { view, scheme, floatZeros, spool };
  if (format === 'matmulnbits' && site.kind === 'product') return new NBitsStore(options);
  const { dims } = constant.tensor;
  const blocks = Math.ceil((dims[axis] ?? 1) / view.blockSize);
  const parameterDims = isBlocked ? dims.map((size, at) => (at === axis ? blocks : size)) : [dims[axis] ?? 1];
  return new QdqStore({ ...options, unsigned: needsUnsigned(site, format, scheme) }, { dims, parameterDims });
}

/** GatherBlockQuantized takes 8-bit codes as uint8 only. */
export function needsUnsigned({ kind }: WeightSite, format: WeightFormat['format'], { bits }: BlockScheme): boolean {
  return format === 'matmulnbits' && kind === 'embedding' && bits === 8;
}

/** Rows of a weight, a stripe at a time. */
export function* stripesOf(
  tensor: Tensor,
  view: WeightSite['view'],
): Generator<{ first: number; values: Float32Array }> {
  const reader = new RowReader(tensor, view);
  const rows = rowCount(view);
  const step = Math.max(8, Math.floor(STRIPE_BYTES / (4 * view.size) / 8) * 8);
  for (let first = 0; first < rows; first += step) {
    yield { first, values: reader.read(first, Math.min(rows, first + step)) };
  }
}

/**
 * Quantizes one weight, stripe by stripe.
 *
 * @returns its tensors and what was lost, or the reason why it cannot be quantized
 */
export function quantizeWeight(
  site: WeightSite,
  format: WeightFormat,
  quantize: RowQuantizer,
  signal: AbortSignal,
): { readonly stored: StoredCodes; readonly lost: SquaredError } | { readonly reason: string } {
  const { tensor } = site.constant;
  const store = storeFor(site, format);
  const lost = { error: 0, energy: 0 };
  for (const { first, values } of stripesOf(tensor, site.view)) {
    signal.throwIfAborted();
    if (!allFinite(values)) return { reason: `weight "${tensor.name}" holds NaN or infinity` };
    const quantized = quantize(values, site.view, first);
    addError(lost, values, quantized, site.view);
    store.add(quantized);
  }
  return { stored: store.finish(tensor.name), lost };
}
