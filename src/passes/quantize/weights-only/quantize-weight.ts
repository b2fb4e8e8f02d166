import type { TensorSpool } from '../../../onnx/codec/tensor-spool.ts';
import type { Tensor } from '../../../onnx/tensor.ts';
import { allFinite } from '../weights.ts';
import { rowCount } from './block-view.ts';
import { addError, type BlockScheme, type RowQuantizer, type SquaredError } from './quantized-rows.ts';
import { RowReader } from './read-rows.ts';
import { rtnRows } from './rtn.ts';
import { packedStripes } from './packed-stripes.ts';
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

export interface QuantizedWeight {
  readonly stored: StoredCodes;
  readonly lost: SquaredError;
}

export interface Refusal {
  readonly reason: string;
}

function notFinite(tensor: Tensor): string {
  return `weight "${tensor.name}" holds NaN or infinity`;
}

function isStoredAsNBits({ kind }: WeightSite, { format }: WeightFormat): boolean {
  return format === 'matmulnbits' && kind === 'product';
}

/** A new store for a weight, in the layout that the site's operator reads. */
export function storeFor(site: WeightSite, weightFormat: WeightFormat): CodeStore {
  const { format, scheme, floatZeros, spool } = weightFormat;
  const { view, constant, axis, isBlocked } = site;
  const options = { view, scheme, floatZeros, spool };
  if (isStoredAsNBits(site, weightFormat)) return new NBitsStore(options);
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
function* stripesOf(tensor: Tensor, view: WeightSite['view']): Generator<{ first: number; values: Float32Array }> {
  const reader = new RowReader(tensor, view);
  const rows = rowCount(view);
  const step = Math.max(8, Math.floor(STRIPE_BYTES / (4 * view.size) / 8) * 8);
  for (let first = 0; first < rows; first += step) {
    yield { first, values: reader.read(first, Math.min(rows, first + step)) };
  }
}

/** Quantizes one weight by rounding to nearest. As `quantizeWeight`, by the shortest way the layout allows. */
export function roundWeight(site: WeightSite, format: WeightFormat, signal: AbortSignal): QuantizedWeight | Refusal {
  const { view, constant } = site;
  const { scheme } = format;
  const isPackedByRows =
    isStoredAsNBits(site, format) || (site.isBlocked && view.inner === 1 && view.size % view.blockSize === 0);
  const isSigned = scheme.symmetric && !isStoredAsNBits(site, format) && !needsUnsigned(site, format.format, scheme);
  if (!isPackedByRows || isSigned || view.outer * view.inner !== Math.max(view.outer, view.inner)) {
    return quantizeWeight(site, format, (values, of) => rtnRows(values, of, scheme), signal);
  }
  const store = storeFor(site, format);
  const lost = { error: 0, energy: 0 };
  for (const rows of packedStripes(constant.tensor, view, { scheme, lost, reuse: format.spool !== undefined })) {
    signal.throwIfAborted();
    store.addPacked(rows);
  }
  if (!Number.isFinite(lost.energy)) return { reason: notFinite(constant.tensor) };
  return { stored: store.finish(constant.tensor.name), lost };
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
): QuantizedWeight | Refusal {
  const { tensor } = site.constant;
  const store = storeFor(site, format);
  const lost = { error: 0, energy: 0 };
  for (const { first, values } of stripesOf(tensor, site.view)) {
    signal.throwIfAborted();
    if (!allFinite(values)) return { reason: notFinite(tensor) };
    const quantized = quantize(values, site.view, first);
    addError(lost, values, quantized, site.view);
    store.add(quantized);
  }
  return { stored: store.finish(tensor.name), lost };
}
