import { CompressionError } from '../../errors.ts';
import { inverseCholesky } from '../../numerics/cholesky.ts';

/** Share of the mean diagonal that is added to the diagonal. */
const DAMPING = 0.01;
/** Ten times the damping is tried so often before giving up. */
const RETRIES = 4;

export interface DampedFactor {
  /** Upper triangular U with UᵀU = (H + damping)⁻¹, row-major. */
  readonly u: Float64Array;
  /** 1 for inputs that were 0 in every row: their weights cost nothing to lose. */
  readonly dead: Uint8Array;
}

/**
 * The factor by which SparseGPT and GPTQ move the error of one column onto those still to come. A hundredth of the mean diagonal
 * is added to the diagonal of H, ten times more where that does not suffice to invert it.
 *
 * @param moments - H, the second moments of a layer's inputs up to a factor, [columns, columns]; only read
 * @throws CompressionError INTERNAL when the moments are not finite
 * @see Frantar et al., "GPTQ", ICLR 2023, section 3.3, step 3
 */
export function dampedInverseFactor(moments: Float64Array, columns: number): DampedFactor {
  const dead = new Uint8Array(columns);
  let trace = 0;
  for (let c = 0; c < columns; c += 1) {
    const diagonal = moments[c * columns + c] ?? 0;
    trace += diagonal;
    if (diagonal === 0) dead[c] = 1;
  }
  const mean = trace / columns;
  for (let attempt = 0; attempt < RETRIES; attempt += 1) {
    const damped = Float64Array.from(moments);
    for (let c = 0; c < columns; c += 1) {
      const place = c * columns + c;
      damped[place] = (dead[c] === 1 ? mean || 1 : (damped[place] ?? 0)) + DAMPING * 10 ** attempt * mean;
    }
    const u = inverseCholesky(damped, columns);
    if (u !== undefined) return { u, dead };
  }
  throw new CompressionError(
    'INTERNAL',
    `the second moments of ${columns} layer inputs have no inverse; check that the calibration data is finite`,
  );
}
