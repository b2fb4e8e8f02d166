import type { InputMoments } from '../../layer-inputs/input-moments.ts';
import { groupMatrix, type GroupMatrix } from '../../layer-inputs/weight-matrix.ts';
import type { MatrixLayout } from '../../layer-inputs/weight-targets.ts';
import { gptq } from '../../rounding/gptq.ts';
import { BlockSearch } from './block-search.ts';
import { blocksPerRow, rowCount, type BlockView } from './block-view.ts';
import { emptyRows, type BlockScheme, type QuantizedRows } from './quantized-rows.ts';
import { codeOf, reciprocalOf, rtnRows } from './rtn.ts';

/** A weight both as rows of blocks and as the matrix that meets the layer's inputs. */
export interface LayerWeight {
  /** In the tensor's order. */
  readonly values: Float32Array;
  readonly view: BlockView;
  readonly layout: MatrixLayout;
}

export interface GptqSettings {
  readonly scheme: BlockScheme;
  /** How scale and zero of a block are chosen: from its extremes, or by search, errors weighted by the inputs' squares. */
  readonly scales: 'extremes' | 'search';
  /** Columns whose inputs are largest come first. */
  readonly actOrder: boolean;
  /** Share of the mean diagonal that is added to the diagonal of the moments; 0.01 or more. */
  readonly damping: number;
}

/**
 * Rounds a weight column by column, each error moved onto the columns still to come. Scale and zero of a block are chosen when
 * its first column comes, from the weights as they are then. With moments that are a multiple of the identity, scales from
 * extremes and columns as given, this is rounding to nearest.
 *
 * @see Frantar et al., "GPTQ", ICLR 2023; groups as in the authors' code
 */
export function gptqRows(weight: LayerWeight, moments: InputMoments, settings: GptqSettings): QuantizedRows {
  const result = emptyRows(rowCount(weight.view), weight.view);
  for (const [group, products] of moments.groups.entries()) {
    const matrix = groupMatrix(weight.values, weight.layout, group);
    const grid = new BlockGrid(
      weight,
      { group, matrix, result, diagonal: diagonalOf(products, matrix.columns) },
      settings,
    );
    gptq(
      matrix,
      damped(products, matrix.columns, settings.damping),
      grid,
      settings.actOrder ? 'largest-first' : 'given',
    );
  }
  return result;
}

interface GridPlace {
  readonly group: number;
  readonly matrix: GroupMatrix;
  readonly result: QuantizedRows;
  readonly diagonal: Float64Array;
}

class BlockGrid {
  readonly #weight: LayerWeight;
  readonly #place: GridPlace;
  readonly #settings: GptqSettings;
  readonly #search: BlockSearch;
  readonly #top: number;
  readonly #entered = new Set<number>();

  constructor(weight: LayerWeight, place: GridPlace, settings: GptqSettings) {
    this.#weight = weight;
    this.#place = place;
    this.#settings = settings;
    this.#search = new BlockSearch(settings.scheme);
    this.#top = 2 ** settings.scheme.bits - 1;
  }

  enter(column: number): void {
    const { from, to } = this.#blockOf(column);
    if (this.#entered.has(from)) return;
    this.#entered.add(from);
    const { matrix, result, diagonal } = this.#place;
    const importance = diagonal.subarray(from, to);
    for (let row = 0; row < matrix.rows; row += 1) {
      const first = row * matrix.columns + from;
      const { scale, zero } = this.#choose(matrix.data.subarray(first, first + to - from), importance);
      const place = this.#parameterPlace(row, from);
      result.scales[place] = scale;
      result.zeros[place] = zero;
    }
  }

  round(value: number, row: number, column: number): number {
    const { result } = this.#place;
    const place = this.#parameterPlace(row, column);
    const scale = result.scales[place] ?? 0;
    const zero = result.zeros[place] ?? 0;
    const code = codeOf(Math.fround(value), reciprocalOf(scale), zero, this.#top);
    result.codes[this.#elementPlace(row, column)] = code;
    return (code - zero) * scale;
  }

  #choose(values: Float64Array, importance: Float64Array): { readonly scale: number; readonly zero: number } {
    if (this.#settings.scales === 'search') {
      this.#search.search(values, 0, importance);
      return this.#search;
    }
    const block = { outer: 1, size: values.length, inner: 1, blockSize: values.length };
    const { scales, zeros } = rtnRows(Float32Array.from(values), block, this.#settings.scheme);
    return { scale: scales[0] ?? 0, zero: zeros[0] ?? 0 };
  }

  /** Columns of the matrix that share scales: a stretch of input channels at one place of the kernel, or all of them. */
  #blockOf(column: number): { readonly from: number; readonly to: number } {
    const { view, layout } = this.#weight;
    if (!this.#isBlocked()) return { from: 0, to: this.#place.matrix.columns };
    const channel = column % layout.inputs;
    const from = column - (channel % view.blockSize);
    return { from, to: Math.min(from + view.blockSize, column - channel + layout.inputs) };
  }

  #isBlocked(): boolean {
    const { view, layout } = this.#weight;
    return view.size === layout.inputs;
  }

  #parameterPlace(row: number, column: number): number {
    const { view, layout } = this.#weight;
    const output = this.#place.group * this.#place.matrix.rows + row;
    if (!this.#isBlocked()) return output;
    const [kernelPlace, channel] = [Math.floor(column / layout.inputs), column % layout.inputs];
    return (output * layout.kernel + kernelPlace) * blocksPerRow(view) + Math.floor(channel / view.blockSize);
  }

  #elementPlace(row: number, column: number): number {
    const { layout } = this.#weight;
    const output = this.#place.group * this.#place.matrix.rows + row;
    const [kernelPlace, channel] = [Math.floor(column / layout.inputs), column % layout.inputs];
    return this.#isBlocked()
      ? (output * layout.kernel + kernelPlace) * layout.inputs + channel
      : output * layout.inputs * layout.kernel + channel * layout.kernel + kernelPlace;
  }
}

export function diagonalOf(moments: Float64Array, columns: number): Float64Array {
  return Float64Array.from({ length: columns }, (_, column) => moments[column * columns + column] ?? 0);
}

/** `gptq` itself adds a hundredth of the mean diagonal. */
function damped(moments: Float64Array, columns: number, damping: number): Float64Array {
  const more = damping - 0.01;
  if (more <= 0) return moments;
  const mean = diagonalOf(moments, columns).reduce((sum, value) => sum + value, 0) / columns;
  const result = Float64Array.from(moments);
  for (let c = 0; c < columns; c += 1) result[c * columns + c] = (result[c * columns + c] ?? 0) + more * mean;
  return result;
}
