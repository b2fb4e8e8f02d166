import type { SeededRandom } from '../../seeded-random.ts';
import { shuffle, uniformIn } from '../keyed-random.ts';
import { adjustHue } from './hue.ts';
import { copyPlanes, type ImageAugmentation } from './planes.ts';
import { adjustBrightness, adjustContrast, adjustSaturation } from './tone.ts';

type Range = number | readonly [number, number];

export interface ColorJitterOptions {
  /** x: factors from max(0, 1 - x) to 1 + x; or the interval of the factors. */
  readonly brightness: Range;
  readonly contrast: Range;
  readonly saturation: Range;
  /** x: turns from -x to x; or the interval. */
  readonly hue: Range;
  readonly probability: number;
}

/** Changes brightness, contrast, saturation and hue by random amounts in random order. @see torchvision ColorJitter */
export function colorJitter(options: ColorJitterOptions): ImageAugmentation {
  const intervals = [
    factors(options.brightness),
    factors(options.contrast),
    factors(options.saturation),
    typeof options.hue === 'number' ? ([-options.hue, options.hue] as const) : options.hue,
  ];
  const adjustments = [adjustBrightness, adjustContrast, adjustSaturation, adjustHue];
  return {
    name: 'color-jitter',
    pixelsOnly: true,
    apply(from, to, random) {
      copyPlanes(from, to);
      if (random.uniform() >= options.probability) return;
      for (const which of shuffledOrder(random)) {
        const adjust = adjustments[which];
        const [low, high] = intervals[which] ?? [0, 0];
        const amount = uniformIn(random, low, high);
        // All four read a pixel before they write it, so they may work in place.
        if (adjust !== undefined && !isNeutral(which, low, high)) adjust(to, to, amount);
      }
    },
  };
}

function shuffledOrder(random: SeededRandom): Uint32Array {
  return shuffle(Uint32Array.of(0, 1, 2, 3), random);
}

function isNeutral(which: number, low: number, high: number): boolean {
  const neutral = which === 3 ? 0 : 1;
  return low === neutral && high === neutral;
}

function factors(range: Range): readonly [number, number] {
  return typeof range === 'number' ? [Math.max(0, 1 - range), 1 + range] : range;
}
