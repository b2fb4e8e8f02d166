import { elementCount } from '../../onnx/nd-array.ts';
import type { GradientBuilder } from './gradient-builder.ts';
import type { ForwardNode, GradientRule } from './gradient-rule.ts';
import { at, padsOf, windowOf, type Window } from './window.ts';

/**
 * Y = max over a window: dX is dY where the maximum was taken (the first of equals, as in the forward pass). The node
 * gives its Indices; ScatterElements puts dY back there, and adds where windows overlap.
 */
export const maxPoolGradient: GradientRule = (node, b) => {
  if (node.hasGradient(1)) throw node.unsupported('its indices are read');
  if (node.node.int('storage_order', 0) !== 0) throw node.unsupported('it stores indices by column (storage_order 1)');
  const places = b.optionalOutput(node.node, 1, { elementType: 'int64', shape: node.outputShape() });
  const shape = node.inputShape(0);
  const dY = node.gradient();
  const flat = [elementCount(shape)];
  const count = [elementCount(node.outputShape())];
  const indices = b.op('Reshape', [places, b.ints(count)]);
  const scattered = b.op('ScatterElements', [b.zeros(flat, dY), indices, b.reshape(dY, count)], {
    axis: 0,
    ...(overlaps(node) ? { reduction: 'add' } : {}),
  });
  return [b.reshape(scattered, shape)];
};

function overlaps(node: ForwardNode): boolean {
  const window = poolWindow(node);
  return window.kernel.some((size, axis) => (size - 1) * at(window.dilations, axis) + 1 > at(window.strides, axis));
}

function poolWindow(node: ForwardNode): Window {
  const kernel = node.node.ints('kernel_shape') ?? [];
  return windowOf(node, kernel, node.inputShape(0).slice(2), node.outputShape().slice(2));
}

/**
 * Y = mean over a window: dX spreads dY / n over it, n the window's size, or what of it lies within the input where
 * padding is not counted. Windows side by side: nearest resize; else a depthwise ConvTranspose with ones.
 */
export const averagePoolGradient: GradientRule = (node, b) => {
  const [, channels = 1, ...input] = node.inputShape(0);
  const output = node.outputShape().slice(2);
  const window = poolWindow(node);
  const dY = node.gradient();
  const size = elementCount(window.kernel);
  const tiles = window.kernel.every(
    (width, axis) =>
      width === at(window.strides, axis) &&
      at(window.dilations, axis) === 1 &&
      at(output, axis) * width === at(input, axis),
  );
  if (tiles && padsOf(window).every((pad) => pad === 0)) {
    return [spreadTiles(b, b.scale(dY, 1 / size), window.kernel)];
  }
  const counts = tapCounts(window, input, output, node.node.int('count_include_pad', 0) !== 0);
  const isUniform = counts.every((count) => count === size);
  const share = isUniform
    ? b.scale(dY, 1 / size)
    : b.mul(
        dY,
        b.constant(
          counts.map((count) => (count === 0 ? 0 : 1 / count)),
          [1, 1, ...output],
          dY,
        ),
      );
  return [overlapAdd(b, share, window, { channels, input, output })];
};

/** Each element of the last axes repeated kernel times. */
function spreadTiles(b: GradientBuilder, a: string, kernel: readonly number[]): string {
  if (kernel.every((size) => size === 1)) return a;
  return b.op('Resize', [a, '', b.constantFloats([1, 1, ...kernel])], {
    mode: 'nearest',
    coordinate_transformation_mode: 'asymmetric',
    nearest_mode: 'floor',
  });
}

/** The sum of windows laid over each other at their strides: depthwise ConvTranspose with ones, then cropped or padded. */
function overlapAdd(
  b: GradientBuilder,
  a: string,
  window: Window,
  sizes: { readonly channels: number; readonly input: readonly number[]; readonly output: readonly number[] },
): string {
  const { channels, input, output } = sizes;
  const ones = b.constant(
    new Float32Array(channels * elementCount(window.kernel)).fill(1),
    [channels, 1, ...window.kernel],
    a,
  );
  const spread = b.op('ConvTranspose', [a, ones], {
    strides: window.strides,
    dilations: window.dilations,
    group: channels,
  });
  const before = window.padsBefore.map((pad) => -pad);
  // ceil_mode windows may reach beyond the padding: what sticks out is cut off.
  const behind = window.kernel.map((size, axis) => {
    const covered = (at(output, axis) - 1) * at(window.strides, axis) + (size - 1) * at(window.dilations, axis) + 1;
    return at(input, axis) + at(window.padsBefore, axis, 0) - covered;
  });
  return b.pad(spread, [0, 0, ...before], [0, 0, ...behind]);
}

/** How many elements each window averages, row-major over the output. Padding counts (if at all) up to the padded size. */
function tapCounts(
  window: Window,
  input: readonly number[],
  output: readonly number[],
  withPadding: boolean,
): number[] {
  const perAxis = window.kernel.map((size, axis) => {
    const first = withPadding ? -at(window.padsBefore, axis, 0) : 0;
    const end = at(input, axis) + (withPadding ? at(window.padsBehind, axis, 0) : 0);
    return Array.from({ length: at(output, axis) }, (_, place) => {
      const start = place * at(window.strides, axis) - at(window.padsBefore, axis, 0);
      let count = 0;
      for (let tap = 0; tap < size; tap += 1) {
        const position = start + tap * at(window.dilations, axis);
        if (position >= first && position < end) count += 1;
      }
      return count;
    });
  });
  return perAxis.reduce<number[]>((product, counts) => product.flatMap((a) => counts.map((c) => a * c)), [1]);
}

/** Y = mean over all places: dX = dY / places, spread. */
export const globalAveragePoolGradient: GradientRule = (node, b) => {
  const shape = node.inputShape(0);
  return [b.expand(b.scale(node.gradient(), 1 / elementCount(shape.slice(2))), shape)];
};

/** Y = max over all places: dX = dY where X = Y, split evenly among equals. */
export const globalMaxPoolGradient: GradientRule = (node, b) => {
  const axes = node
    .inputShape(0)
    .map((_, axis) => axis)
    .slice(2);
  const mask = b.mask(b.op('Equal', [node.input(0), node.output()]), node.gradient());
  return [b.mul(mask, b.div(node.gradient(), b.sum(mask, axes, 1)))];
};
