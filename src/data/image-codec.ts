import { availableParallelism } from 'node:os';
import { CompressionError, messageOf } from '../errors.ts';
import type { ImageRequest } from './dataset.ts';
import { resizePixels, type Pixels } from './image-resize.ts';

/** The first bytes of the formats that are decoded. SVG and PDF are programs rather than pictures, and are not. */
const SIGNATURES: readonly RegExp[] = [
  /^\xff\xd8\xff/, // JPEG
  /^\x89PNG\r\n/,
  /^RIFF[\s\S]{4}WEBP/,
  /^GIF8[79]a/,
  /^(II\*\0|MM\0\*)/, // TIFF
  /^[\s\S]{4}ftypavi[fs]/, // AVIF
];

/**
 * sharp with its caches off, loaded when the first image is decoded: whoever only reads headers never loads it.
 * One thread an image; parallelism comes from decoding several images at a time.
 */
async function loadSharp(): Promise<typeof import('sharp').default> {
  const { default: sharp } = await import('sharp');
  sharp.cache(false);
  sharp.concurrency(1);
  return sharp;
}

/** Whether the bytes begin as one of the formats that are decoded. */
export function isImageBytes(bytes: Uint8Array): boolean {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(16, bytes.length)).toString('latin1');
  return SIGNATURES.some((signature) => signature.test(head));
}

/** Images that are decoded side by side. */
export const DECODE_PARALLELISM = Math.min(4, availableParallelism());

/**
 * Decodes one image to 8-bit RGB or grey. Alpha is dropped, orientation tags are not applied (as PIL's `convert` and
 * torchvision's folders do).
 * @param name - of the entry, for errors
 * @throws CompressionError DATASET_PARSE for what is not an image or a broken one, DATASET_LIMIT for too many pixels
 */
export async function decodeImage(
  bytes: Uint8Array,
  name: string,
  request: ImageRequest,
  maxPixels: number,
): Promise<Pixels> {
  if (!isImageBytes(bytes)) {
    throw new CompressionError('DATASET_PARSE', `Image ${name} is none of JPEG, PNG, WebP, GIF, TIFF or AVIF`);
  }
  const sharp = await loadSharp();
  try {
    const image = sharp(bytes, { limitInputPixels: maxPixels, failOn: 'error', autoOrient: false });
    const flat = image.removeAlpha().toColourspace(request.channels === 1 ? 'b-w' : 'srgb');
    const { data, info } = await flat.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    const pixels: Pixels = { height: info.height, width: info.width, channels: info.channels, data };
    return request.resize === undefined ? pixels : resizePixels(pixels, request.resize);
  } catch (error) {
    const reason = messageOf(error);
    if (/pixel limit/i.test(reason)) {
      throw new CompressionError('DATASET_LIMIT', `Image ${name} has more than ${maxPixels} pixels`, { cause: error });
    }
    throw new CompressionError('DATASET_PARSE', `Image ${name} is broken: ${reason}; replace it or take it out`, {
      cause: error,
    });
  }
}
