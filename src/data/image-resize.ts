import type { ImageSize } from './dataset.ts';

/** Interleaved 8-bit pixels: [height, width, channels]. */
export interface Pixels {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly data: Uint8Array;
}

/** For each target position: the first source position it rests on, and the weight of that one and those behind it. */
interface Taps {
  readonly first: Int32Array;
  readonly count: Int32Array;
  readonly weights: Float64Array;
  readonly stride: number;
}

/**
 * Resizes with a triangle filter: bilinear, widened by the scale when the image shrinks (antialiasing), pixel centers
 * aligned, rows rounded to 8 bits between the two directions. This is what Pillow's BILINEAR and torchvision's resize
 * do, so that a model sees the pixels it was trained on; libvips places enlarged pixels half a pixel off.
 *
 * `cover` cuts the middle out of the image, `contain` puts the whole of it on black, `fill` distorts it.
 * O(pixels) time; one image of target width and source height, and the result.
 */
export function resizePixels(pixels: Pixels, size: ImageSize): Pixels {
  const { height, width, channels } = pixels;
  const inner = { height: size.height, width: size.width };
  const box = { top: 0, left: 0, height, width };
  if (size.fit === 'cover') {
    const scale = Math.max(size.height / height, size.width / width);
    box.height = size.height / scale;
    box.width = size.width / scale;
    box.top = (height - box.height) / 2;
    box.left = (width - box.width) / 2;
  } else if (size.fit === 'contain') {
    const scale = Math.min(size.height / height, size.width / width);
    inner.height = Math.min(size.height, Math.max(1, Math.round(height * scale)));
    inner.width = Math.min(size.width, Math.max(1, Math.round(width * scale)));
  }
  const across = resampleRows(pixels, triangleTaps(box.left, box.width, width, inner.width));
  const resized = resampleColumns(across, triangleTaps(box.top, box.height, height, inner.height));
  if (inner.height === size.height && inner.width === size.width) return resized;
  const data = new Uint8Array(size.height * size.width * channels);
  const top = Math.floor((size.height - inner.height) / 2);
  const left = Math.floor((size.width - inner.width) / 2);
  const rowBytes = inner.width * channels;
  for (let y = 0; y < inner.height; y += 1) {
    data.set(resized.data.subarray(y * rowBytes, (y + 1) * rowBytes), ((top + y) * size.width + left) * channels);
  }
  return { height: size.height, width: size.width, channels, data };
}

/** Taps for `targetSize` positions over [start, start + extent) of a line of `sourceSize`. */
function triangleTaps(start: number, extent: number, sourceSize: number, targetSize: number): Taps {
  const scale = extent / targetSize;
  const radius = Math.max(scale, 1);
  const stride = Math.ceil(radius) * 2 + 1;
  const first = new Int32Array(targetSize);
  const count = new Int32Array(targetSize);
  const weights = new Float64Array(targetSize * stride);
  for (let i = 0; i < targetSize; i += 1) {
    const center = start + (i + 0.5) * scale;
    const low = Math.max(0, Math.floor(center - radius + 0.5));
    const high = Math.min(sourceSize, Math.floor(center + radius + 0.5));
    let sum = 0;
    for (let j = low; j < high; j += 1) {
      const weight = Math.max(0, 1 - Math.abs((j + 0.5 - center) / radius));
      weights[i * stride + j - low] = weight;
      sum += weight;
    }
    for (let j = 0; j < high - low; j += 1) weights[i * stride + j] = (weights[i * stride + j] ?? 0) / sum;
    first[i] = low;
    count[i] = high - low;
  }
  return { first, count, weights, stride };
}

function resampleRows({ height, width, channels, data }: Pixels, taps: Taps): Pixels {
  const targetWidth = taps.first.length;
  const result = new Uint8Array(height * targetWidth * channels);
  let target = 0;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < targetWidth; x += 1) {
      const at = (y * width + (taps.first[x] ?? 0)) * channels;
      const count = taps.count[x] ?? 0;
      const weight = x * taps.stride;
      for (let channel = 0; channel < channels; channel += 1) {
        let sum = 0.5;
        for (let i = 0; i < count; i += 1) {
          sum += (taps.weights[weight + i] ?? 0) * (data[at + i * channels + channel] ?? 0);
        }
        result[target] = sum;
        target += 1;
      }
    }
  }
  return { height, width: targetWidth, channels, data: result };
}

function resampleColumns({ width, channels, data }: Pixels, taps: Taps): Pixels {
  const targetHeight = taps.first.length;
  const row = width * channels;
  const result = new Uint8Array(targetHeight * row);
  for (let y = 0; y < targetHeight; y += 1) {
    const at = (taps.first[y] ?? 0) * row;
    const count = taps.count[y] ?? 0;
    const weight = y * taps.stride;
    for (let x = 0; x < row; x += 1) {
      let sum = 0.5;
      for (let i = 0; i < count; i += 1) sum += (taps.weights[weight + i] ?? 0) * (data[at + i * row + x] ?? 0);
      result[y * row + x] = sum;
    }
  }
  return { height: targetHeight, width, channels, data: result };
}
