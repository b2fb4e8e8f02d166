import type { SeededRandom } from '../../seeded-random.ts';

/** 8-bit pixels before preprocessing, or floats of a data set that holds floats. */
export type PixelData = Uint8Array | Float32Array;

/** One image, planar: [channels, height, width]. */
export interface Planes {
  readonly data: PixelData;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** One change to one image. `apply` writes every value of `to` and leaves `from` as it is. */
export interface ImageAugmentation {
  readonly name: string;
  /** Only for 8-bit pixels. */
  readonly pixelsOnly: boolean;
  apply(from: Planes, to: Planes, random: SeededRandom): void;
}

/** What fills places that no pixel of the image belongs to: a value a channel. */
export type ChannelFill = readonly number[];

/** Copies an image of the same size. */
export function copyPlanes(from: Planes, to: Planes): void {
  to.data.set(from.data);
}
