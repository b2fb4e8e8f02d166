import type { Dimension } from '../value-type.ts';
import { MAX_TRACKED_ELEMENTS } from './rule.ts';

/**
 * The elements at the cross product of `indices`, one list of positions per axis of `dims` (Slice, Gather, Split, Tile).
 * undefined when that would be more than are tracked.
 */
export function selectElements(
  values: readonly Dimension[],
  dims: readonly number[],
  indices: readonly (readonly number[])[],
): Dimension[] | undefined {
  const count = indices.reduce((product, list) => product * list.length, 1);
  if (count > MAX_TRACKED_ELEMENTS) return undefined;
  let offsets = [0];
  for (const [axis, size] of dims.entries()) {
    const positions = indices[axis] ?? [];
    offsets = offsets.flatMap((offset) => positions.map((position) => offset * size + position));
  }
  return offsets.map((offset) => values[offset] ?? null);
}

/** The elements with their axes permuted: axis i of the result is axis `perm[i]` of the source. */
export function transposeElements(
  values: readonly Dimension[],
  dims: readonly number[],
  perm: readonly number[],
): Dimension[] {
  const strides = dims.map((_, axis) => dims.slice(axis + 1).reduce((product, size) => product * size, 1));
  let offsets = [0];
  for (const axis of perm) {
    const [size, stride] = [dims[axis] ?? 1, strides[axis] ?? 1];
    offsets = offsets.flatMap((offset) => Array.from({ length: size }, (_, index) => offset + index * stride));
  }
  return offsets.map((offset) => values[offset] ?? null);
}

/** Elements of tensors of equal dims but for `axis`, joined along it. */
export function concatElements(
  parts: readonly (readonly Dimension[])[],
  dims: readonly (readonly number[])[],
  axis: number,
): Dimension[] | undefined {
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  if (total > MAX_TRACKED_ELEMENTS) return undefined;
  const rows = (dims[0] ?? []).slice(0, axis).reduce((product, size) => product * size, 1);
  const result: Dimension[] = [];
  for (let row = 0; row < rows; row += 1) {
    for (const part of parts) {
      const width = part.length / rows;
      result.push(...part.slice(row * width, (row + 1) * width));
    }
  }
  return result;
}

export function allPositions(size: number): number[] {
  return Array.from({ length: size }, (_, index) => index);
}
