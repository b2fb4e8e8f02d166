import { copyPlanes, type ImageAugmentation, type Planes } from './planes.ts';

/** Mirrors left and right with this probability. @see torchvision RandomHorizontalFlip */
export function randomFlip(probability: number): ImageAugmentation {
  return {
    name: 'flip',
    pixelsOnly: false,
    apply(from, to, random) {
      if (random.uniform() < probability) flipPlanes(from, to);
      else copyPlanes(from, to);
    },
  };
}

export function flipPlanes(from: Planes, to: Planes): void {
  const { width } = from;
  const rows = from.channels * from.height;
  const source = from.data;
  const target = to.data;
  for (let row = 0; row < rows; row += 1) {
    const start = row * width;
    const last = start + width - 1;
    for (let x = 0; x < width; x += 1) target[start + x] = source[last - x] ?? 0;
  }
}
