import type { Planes } from './planes.ts';
import { pixelsOf } from './tone.ts';

/**
 * Turns the hue of an RGB image by `turns` of the colour circle, in Pillow's 8-bit HSV (256 steps; torchvision's
 * adjust_hue on PIL images). Grey images stay as they are.
 * @param turns - -0.5..0.5
 */
export function adjustHue(from: Planes, to: Planes, turns: number): void {
  const source = pixelsOf(from);
  const target = pixelsOf(to);
  if (from.channels !== 3) {
    target.set(source);
    return;
  }
  const pixels = from.height * from.width;
  const shift = Math.trunc(turns * 255) & 0xff;
  for (let i = 0; i < pixels; i += 1) {
    const red = source[i] ?? 0;
    const green = source[i + pixels] ?? 0;
    const blue = source[i + 2 * pixels] ?? 0;
    const value = Math.max(red, green, blue);
    const spread = value - Math.min(red, green, blue);
    if (spread === 0) {
      target[i] = target[i + pixels] = target[i + 2 * pixels] = value;
      continue;
    }
    const hue = (hueOf({ red, green, blue, value, spread }) + shift) & 0xff;
    const saturation = Math.trunc(Math.fround(Math.fround(spread / value) * 255));
    // Back, by the sextant of the circle that the hue lies in.
    const place = Math.fround((hue * 6) / 255);
    const sextant = Math.floor(place);
    const fraction = Math.fround(place - sextant);
    const share = Math.fround(saturation / 255);
    const p = roundHalfUp(value * (1 - share));
    const q = roundHalfUp(value * (1 - share * fraction));
    const t = roundHalfUp(value * (1 - share * (1 - fraction)));
    target[i] = pick(sextant, [value, q, p, p, t, value]);
    target[i + pixels] = pick(sextant, [t, value, value, q, p, p]);
    target[i + 2 * pixels] = pick(sextant, [p, p, t, value, value, q]);
  }
}

interface Rgb {
  readonly red: number;
  readonly green: number;
  readonly blue: number;
  readonly value: number;
  readonly spread: number;
}

/** 0..255; single precision where Pillow's C has it. */
function hueOf({ red, green, blue, value, spread }: Rgb): number {
  const r = Math.fround((value - red) / spread);
  const g = Math.fround((value - green) / spread);
  const b = Math.fround((value - blue) / spread);
  const sixths = Math.fround(red === value ? b - g : green === value ? 2 + r - b : 4 + g - r);
  const turn = Math.fround((sixths / 6 + 1) % 1);
  return Math.trunc(turn * 255);
}

function roundHalfUp(value: number): number {
  return Math.min(255, Math.floor(value + 0.5));
}

function pick(sextant: number, channel: readonly [number, number, number, number, number, number]): number {
  return channel[sextant % 6] ?? 0;
}
