import { gramOfRows, multiply, multiplyTransposed, transpose } from '../../numerics/matrix.ts';
import { symmetricEigen } from '../../numerics/symmetric-eigen.ts';
import { elementCount } from '../../onnx/nd-array.ts';
import type { InputMoments } from './input-covariance.ts';
import type { DenseLayer } from './layers.ts';
import { windowAttributes, type Chain } from './replace-layer.ts';

/** Ranks of the two modes: of the input channels and of the outputs. */
export interface TuckerRanks {
  readonly input: number;
  readonly output: number;
}

const SWEEPS = 10;
/** Relative change of the kept energy at which the sweeps end. */
const TOLERANCE = 1e-7;
/** Share of the mean eigenvalue that is added to each when the input is whitened: none may be zero, it is divided by. */
const RIDGE = 1e-4;

/**
 * A convolution's filters W [outputs, inputs, window] as core x U x V: 1x1 (inputs -> input rank), the window (input rank ->
 * output rank), 1x1 (output rank -> outputs). With data, the input channels are weighted by the square root of their second
 * moments, so that what is kept is what the data have.
 *
 * @see Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications", ICLR 2016
 * @see De Lathauwer et al., "On the best rank-1 and rank-(R1, ..., RN) approximation", SIMAX 2000 (HOOI)
 */
export class TuckerDecomposition {
  readonly #layer: DenseLayer;
  readonly #window: number;
  /** Filters with weighted inputs, [outputs, inputs, window]. */
  readonly #weighted: Float64Array;
  /** [inputs, inputs]: takes the weighting back; undefined without data. */
  readonly #unweight: Float64Array | undefined;
  readonly #outputBasis: Float64Array;
  readonly #inputBasis: Float64Array;
  /** `kept[(o * (inputs + 1)) + i]`: energy in the leading o x i corner of the full core. */
  readonly #kept: Float64Array;

  constructor(layer: DenseLayer, moments: InputMoments | undefined) {
    this.#layer = layer;
    this.#window = elementCount(layer.kernel);
    const whitening = moments === undefined ? undefined : whiteningOf(channelMoments(layer, moments), layer.inputs);
    this.#weighted =
      whitening === undefined ? layer.weight : this.#onInputs(layer.weight, whitening.root, { to: layer.inputs });
    this.#unweight = whitening?.inverse;
    this.#outputBasis = basisOf(this.#byOutput(this.#weighted, layer.inputs), layer.outputs);
    this.#inputBasis = basisOf(this.#byInput(this.#weighted, layer.outputs, layer.inputs), layer.inputs);
    this.#kept = this.#cornerEnergies();
  }

  /** Share of the energy that the truncated higher-order SVD loses; the sweeps of `build` can only lower it. */
  loss({ input, output }: TuckerRanks): number {
    const width = this.#layer.inputs + 1;
    const total = this.#kept[this.#kept.length - 1] ?? 0;
    return total > 0 ? Math.max(1 - (this.#kept[output * width + input] ?? 0) / total, 0) : 0;
  }

  /** HOOI from the truncated bases on, then the three convolutions. */
  build(ranks: TuckerRanks): { readonly chain: Chain; readonly product: Float64Array } {
    const { outputs, inputs, kernel, node } = this.#layer;
    const { input, output } = ranks;
    let [u, v] = [this.#outputBasis.slice(0, output * outputs), this.#inputBasis.slice(0, input * inputs)];
    let kept = 0;
    for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
      const onInputs = this.#onInputs(this.#weighted, v, { to: input });
      u = basisOf(this.#byOutput(onInputs, input), outputs).slice(0, output * outputs);
      const onOutputs = this.#onOutputs(this.#weighted, u, { to: output, inputs });
      v = basisOf(this.#byInput(onOutputs, output, inputs), inputs).slice(0, input * inputs);
      const energy = energyOf(this.#onInputs(onOutputs, v, { to: input, rows: output }));
      const gain = energy - kept;
      kept = energy;
      if (gain <= TOLERANCE * energy) break;
    }
    const core = this.#onInputs(this.#onOutputs(this.#weighted, u, { to: output, inputs }), v, {
      to: input,
      rows: output,
    });
    const first =
      this.#unweight === undefined
        ? v
        : multiplyTransposed(v, this.#unweight, { rows: input, inner: inputs, cols: inputs });
    const last = transpose(u, output, outputs);
    const ones = kernel.map(() => 1);
    const chain: Chain = {
      kind: 'conv',
      parts: [
        { weight: first, dims: [input, inputs, ...ones], attributes: {} },
        { weight: core, dims: [output, input, ...kernel], attributes: windowAttributes(node) },
        { weight: last, dims: [outputs, output, ...ones], attributes: {} },
      ],
    };
    const onAllOutputs = this.#onOutputs(core, last, { to: outputs, inputs: input, from: output });
    return {
      chain,
      product: this.#onInputs(onAllOutputs, transpose(first, input, inputs), {
        to: inputs,
        rows: outputs,
        from: input,
      }),
    };
  }

  /** X x_input M for M [to, from]: [rows, from, window] -> [rows, to, window]. */
  #onInputs(
    x: Float64Array,
    m: Float64Array,
    { to, rows = this.#layer.outputs, from = this.#layer.inputs }: { to: number; rows?: number; from?: number },
  ): Float64Array {
    const size = this.#window;
    const result = new Float64Array(rows * to * size);
    for (let row = 0; row < rows; row += 1) {
      const slice = x.subarray(row * from * size, (row + 1) * from * size);
      result.set(multiply(m, Float64Array.from(slice), { rows: to, inner: from, cols: size }), row * to * size);
    }
    return result;
  }

  /** X x_output M for M [to, from]: [from, inputs, window] -> [to, inputs, window]. */
  #onOutputs(
    x: Float64Array,
    m: Float64Array,
    { to, inputs, from = this.#layer.outputs }: { to: number; inputs: number; from?: number },
  ): Float64Array {
    return multiply(m, x, { rows: to, inner: from, cols: inputs * this.#window });
  }

  #byOutput(x: Float64Array, inputs: number): { matrix: Float64Array; cols: number } {
    return { matrix: x, cols: inputs * this.#window };
  }

  /** [inputs, outputs x window]. */
  #byInput(x: Float64Array, outputs: number, inputs: number): { matrix: Float64Array; cols: number } {
    const size = this.#window;
    const matrix = new Float64Array(x.length);
    for (let m = 0; m < outputs; m += 1) {
      for (let c = 0; c < inputs; c += 1) {
        const from = (m * inputs + c) * size;
        for (let k = 0; k < size; k += 1) matrix[(c * outputs + m) * size + k] = x[from + k] ?? 0;
      }
    }
    return { matrix, cols: outputs * size };
  }

  #cornerEnergies(): Float64Array {
    const { outputs, inputs } = this.#layer;
    const core = this.#onInputs(
      this.#onOutputs(this.#weighted, this.#outputBasis, { to: outputs, inputs }),
      this.#inputBasis,
      { to: inputs },
    );
    const size = this.#window;
    const width = inputs + 1;
    const kept = new Float64Array((outputs + 1) * width);
    for (let o = 0; o < outputs; o += 1) {
      let row = 0;
      for (let i = 0; i < inputs; i += 1) {
        const from = (o * inputs + i) * size;
        for (let k = 0; k < size; k += 1) row += (core[from + k] ?? 0) ** 2;
        kept[(o + 1) * width + i + 1] = (kept[o * width + i + 1] ?? 0) + row;
      }
    }
    return kept;
  }
}

/** Orthonormal rows: the left singular vectors of a matrix of `rows` rows, most energy first. */
function basisOf({ matrix, cols }: { matrix: Float64Array; cols: number }, rows: number): Float64Array {
  return symmetricEigen(gramOfRows(matrix, rows, cols), rows).vectors;
}

function energyOf(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return sum;
}

/** Covariance of the input channels, the mean over the places of the window. */
function channelMoments(layer: DenseLayer, { covariance }: InputMoments): Float64Array {
  const { inputs } = layer;
  const size = elementCount(layer.kernel);
  const inner = inputs * size;
  const result = new Float64Array(inputs * inputs);
  for (let a = 0; a < inputs; a += 1) {
    for (let b = 0; b < inputs; b += 1) {
      let sum = 0;
      for (let k = 0; k < size; k += 1) sum += covariance[(a * size + k) * inner + b * size + k] ?? 0;
      result[a * inputs + b] = sum / size;
    }
  }
  return result;
}

/** Symmetric square root and its inverse. */
function whiteningOf(
  moments: Float64Array,
  n: number,
): { readonly root: Float64Array; readonly inverse: Float64Array } {
  const { values, vectors } = symmetricEigen(moments, n);
  const ridge = (RIDGE * values.reduce((sum, value) => sum + Math.max(value, 0), 0)) / n;
  const scaled = (power: number): Float64Array => {
    const rows = vectors.map((value, i) => value * (Math.max(values[Math.floor(i / n)] ?? 0, 0) + ridge || 1) ** power);
    return multiplyTransposed(transpose(rows, n, n), transpose(vectors, n, n), { rows: n, inner: n, cols: n });
  };
  return { root: scaled(0.5), inverse: scaled(-0.5) };
}
