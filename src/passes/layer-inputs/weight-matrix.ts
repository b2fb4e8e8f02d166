import type { MatrixLayout } from './weight-targets.ts';

/** Rows of one group of a weight, [rows, columns], columns ordered as layer inputs are: place of the kernel, then input channel. */
export interface GroupMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** Calls back with the place in the group's matrix and in the tensor, for every element of a group. */
function visit(layout: MatrixLayout, group: number, each: (inMatrix: number, inTensor: number) => void): void {
  const { outputs, inputs, kernel, outputStride, inputStride, groups } = layout;
  const rows = outputs / groups;
  let at = 0;
  for (let row = 0; row < rows; row += 1) {
    const first = (group * rows + row) * outputStride;
    for (let k = 0; k < kernel; k += 1) {
      for (let i = 0; i < inputs; i += 1) {
        each(at, first + i * inputStride + k);
        at += 1;
      }
    }
  }
}

export function groupMatrix(weights: ArrayLike<number>, layout: MatrixLayout, group: number): GroupMatrix {
  const rows = layout.outputs / layout.groups;
  const columns = layout.inputs * layout.kernel;
  const data = new Float64Array(rows * columns);
  visit(layout, group, (inMatrix, inTensor) => {
    data[inMatrix] = weights[inTensor] ?? 0;
  });
  return { rows, columns, data };
}

/** Writes a group's matrix back into the tensor's order. */
export function putGroup(
  target: Float32Array | Float64Array | Uint8Array,
  values: ArrayLike<number>,
  layout: MatrixLayout,
  group: number,
): void {
  visit(layout, group, (inMatrix, inTensor) => {
    target[inTensor] = values[inMatrix] ?? 0;
  });
}
