import type { ForwardNode } from './gradient-rule.ts';

/** A sliding window over spatial axes with everything made explicit: what Conv, ConvTranspose and pools share. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly padsBefore: readonly number[];
  readonly padsBehind: readonly number[];
}

/** ONNX `pads`: all begins, then all ends. */
export function padsOf(window: Window): number[] {
  return [...window.padsBefore, ...window.padsBehind];
}

export function at(list: readonly number[], index: number, fallback = 1): number {
  return list[index] ?? fallback;
}

/**
 * The window of a Conv or pool whose input and output sizes are known; resolves auto_pad. SAME_LOWER puts the odd
 * element at the start, SAME_UPPER at the end (ONNX specification of Conv).
 */
export function windowOf(
  node: ForwardNode,
  kernel: readonly number[],
  inputs: readonly number[],
  outputs: readonly number[],
): Window {
  const { strides, dilations } = steps(node, kernel.length);
  const autoPad = node.node.string('auto_pad', 'NOTSET');
  if (autoPad === 'NOTSET' || autoPad === '') {
    const pads = node.node.ints('pads') ?? kernel.flatMap(() => [0, 0]);
    return {
      kernel,
      strides,
      dilations,
      padsBefore: pads.slice(0, kernel.length),
      padsBehind: pads.slice(kernel.length),
    };
  }
  const totals = kernel.map((size, axis) =>
    autoPad === 'VALID'
      ? 0
      : Math.max(
          0,
          (at(outputs, axis) - 1) * at(strides, axis) + (size - 1) * at(dilations, axis) + 1 - at(inputs, axis),
        ),
  );
  return { kernel, strides, dilations, ...divided(totals, autoPad) };
}

/** The window of a ConvTranspose; `output_shape` and auto_pad are resolved from the sizes on both sides. */
export function transposedWindowOf(
  node: ForwardNode,
  kernel: readonly number[],
  inputs: readonly number[],
  outputs: readonly number[],
): Window {
  const { strides, dilations } = steps(node, kernel.length);
  const autoPad = node.node.string('auto_pad', 'NOTSET');
  const isExplicit = node.node.ints('output_shape') === undefined && (autoPad === 'NOTSET' || autoPad === 'VALID');
  if (isExplicit) {
    const zeros = kernel.flatMap(() => [0, 0]);
    const pads = autoPad === 'VALID' ? zeros : (node.node.ints('pads') ?? zeros);
    return {
      kernel,
      strides,
      dilations,
      padsBefore: pads.slice(0, kernel.length),
      padsBehind: pads.slice(kernel.length),
    };
  }
  const extra = node.node.ints('output_padding') ?? [];
  const totals = kernel.map(
    (size, axis) =>
      at(strides, axis) * (at(inputs, axis) - 1) +
      at(extra, axis, 0) +
      (size - 1) * at(dilations, axis) +
      1 -
      at(outputs, axis),
  );
  return { kernel, strides, dilations, ...divided(totals, autoPad) };
}

/** The even part on both sides, the odd element where `auto_pad` says (ONNX: at the end for SAME_UPPER and NOTSET). */
function divided(totals: readonly number[], autoPad: string): Pick<Window, 'padsBefore' | 'padsBehind'> {
  const padsBefore = totals.map((total) =>
    autoPad === 'SAME_LOWER' ? total - Math.floor(total / 2) : Math.floor(total / 2),
  );
  return { padsBefore, padsBehind: totals.map((total, axis) => total - at(padsBefore, axis)) };
}

function steps(node: ForwardNode, rank: number): Pick<Window, 'strides' | 'dilations'> {
  const ones = new Array<number>(rank).fill(1);
  return { strides: node.node.ints('strides') ?? ones, dilations: node.node.ints('dilations') ?? ones };
}
