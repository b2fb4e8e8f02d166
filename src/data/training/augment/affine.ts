import type { Planes } from './planes.ts';

/** Where a target pixel (x, y) comes from: (a x + b y + c, d x + e y + f), between pixel corners. */
export type AffineMap = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

const FIXED_ONE = 65536;

/**
 * Nearest-pixel affine transform with Pillow's fixed-point steps, so that the same pixels are chosen.
 * @param fill - of places that come from outside
 */
export function affineNearest(from: Planes, to: Planes, [a, b, c, d, e, f]: AffineMap, fill: number): void {
  const { channels, height, width } = from;
  const fixed = (value: number): number => Math.floor(value * FIXED_ONE + 0.5);
  const [stepX, rowX, stepY, rowY] = [fixed(a), fixed(b), fixed(d), fixed(e)];
  const [startX, startY] = [fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5)];
  const pixels = height * width;
  for (let y = 0; y < height; y += 1) {
    let atX = startX + y * rowX;
    let atY = startY + y * rowY;
    for (let x = 0; x < width; x += 1) {
      const sourceX = Math.floor(atX / FIXED_ONE);
      const sourceY = Math.floor(atY / FIXED_ONE);
      const inside = sourceX >= 0 && sourceX < width && sourceY >= 0 && sourceY < height;
      const source = sourceY * width + sourceX;
      for (let channel = 0; channel < channels; channel += 1) {
        to.data[channel * pixels + y * width + x] = inside ? (from.data[channel * pixels + source] ?? fill) : fill;
      }
      atX += stepX;
      atY += stepY;
    }
  }
}

/** Counter-clockwise about the image's center, as Image.rotate. */
export function rotationMap(degrees: number, height: number, width: number): AffineMap {
  const angle = (-degrees * Math.PI) / 180;
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  const [x, y] = [width / 2, height / 2];
  return [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y];
}
