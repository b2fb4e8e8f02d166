import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { SeededRandom } from '../../../src/data/seeded-random.ts';
import { betaDraw } from '../../../src/data/training/augment/beta.ts';
import { randomCrop, shiftPlanes } from '../../../src/data/training/augment/crop.ts';
import { drawBox, pasteBoxes } from '../../../src/data/training/augment/cutmix.ts';
import { blankSquare, cutout } from '../../../src/data/training/augment/cutout.ts';
import { flipPlanes, randomFlip } from '../../../src/data/training/augment/flip.ts';
import { adjustHue } from '../../../src/data/training/augment/hue.ts';
import { blendRows, mixup } from '../../../src/data/training/augment/mixup.ts';
import type { Planes } from '../../../src/data/training/augment/planes.ts';
import { RAND_AUGMENT_OPERATIONS, randAugment } from '../../../src/data/training/augment/rand-augment.ts';
import { cropAndResize, drawCrop } from '../../../src/data/training/augment/random-resized-crop.ts';
import * as tone from '../../../src/data/training/augment/tone.ts';
import { keyedRandom } from '../../../src/data/training/keyed-random.ts';
import { openTrainingSource } from '../../../src/data/training/training-source.ts';
import { softTargets } from '../../../src/data/training/training-batch.ts';
import { AugmentField, resolveAugmentations } from '../../../src/schemas/training-data.ts';
import { tensorValue } from '../../../src/onnx/value-type.ts';
import { collect, IMAGE_INPUT, images, makeDatasets, PREPROCESS, SIDE } from './fixtures.ts';

interface Golden {
  readonly height: number;
  readonly width: number;
  readonly images: Readonly<Record<string, string>>;
  readonly cases: readonly { operation: string; image: string; amount: number; pixels: string }[];
  readonly resized: readonly { box: [number, number, number, number]; size: [number, number]; pixels: string }[];
  readonly crops: readonly { mode: 'constant' | 'edge' | 'reflect'; top: number; left: number; pixels: string }[];
}

/** What Pillow does (test/fixtures/augment/make.py). */
const golden = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../fixtures/augment/pillow.json'), 'utf8'),
) as Golden;
const { height, width } = golden;
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const image = (name: string): Planes => ({ data: bytes(golden.images[name] ?? ''), channels: 3, height, width });
const blank = (h = height, w = width, channels = 3): Planes => ({
  data: new Uint8Array(channels * h * w),
  channels,
  height: h,
  width: w,
});
const grey = (values: readonly number[], w: number): Planes => ({
  data: Uint8Array.from(values),
  channels: 1,
  height: values.length / w,
  width: w,
});

type Run = (from: Planes, to: Planes, amount: number) => void;
const operation = (name: string): Run => {
  const row = RAND_AUGMENT_OPERATIONS.find((candidate) => candidate.name === name);
  return (from, to, amount) => row?.run(from, to, amount, 7);
};
const RUNS: Readonly<Record<string, Run>> = {
  brightness: tone.adjustBrightness,
  contrast: tone.adjustContrast,
  saturation: tone.adjustSaturation,
  sharpness: tone.adjustSharpness,
  hue: adjustHue,
  posterize: tone.posterize,
  solarize: tone.solarize,
  autoContrast: tone.autoContrast,
  equalize: tone.equalize,
  shearX: operation('shear-x'),
  shearY: operation('shear-y'),
  translateX: operation('translate-x'),
  translateY: operation('translate-y'),
  rotate: operation('rotate'),
  flip: flipPlanes,
};

describe('operations on pixels are to the byte what Pillow does', () => {
  for (const [name, run] of Object.entries(RUNS)) {
    it(name, () => {
      const cases = golden.cases.filter((item) => item.operation === name);
      assert.ok(cases.length >= 2);
      for (const { image: source, amount, pixels } of cases) {
        const [from, to] = [image(source), blank()];
        run(from, to, amount);
        assert.deepEqual(to.data, bytes(pixels), `${source} ${amount}`);
        assert.deepEqual(from.data, image(source).data, 'the source is left as it is');
      }
    });
  }

  it('crop with padding', () => {
    for (const { mode, top, left, pixels } of golden.crops) {
      const to = blank();
      const border = mode === 'constant' ? ({ mode, fill: [9, 9, 9] } as const) : { mode };
      shiftPlanes(image('smooth'), to, { down: 4 - top, right: 4 - left, border });
      assert.deepEqual(to.data, bytes(pixels), `${mode} ${top} ${left}`);
    }
  });

  it('crop and resize, to within the rounding of its fixed-point weights', () => {
    for (const { box, size, pixels } of golden.resized) {
      const to = blank(size[0], size[1]);
      const [top, left, h, w] = box;
      cropAndResize(image('smooth'), to, { top, left, height: h, width: w });
      const expected = bytes(pixels);
      // Pillow's weights have 22 bits: only ties may round the other way.
      for (const [i, value] of expected.entries()) assert.ok(Math.abs(value - (to.data[i] ?? 0)) <= 1);
    }
  });
});

describe('random parts', () => {
  it('crop draws all shifts, flip half of the images', () => {
    const seen = new Set<string>();
    const from = grey([1, 2, 3, 4], 2);
    for (let i = 0; i < 400; i += 1) {
      const to = blank(2, 2, 1);
      randomCrop(1, { mode: 'constant', fill: [0] }).apply(from, to, keyedRandom(i));
      seen.add(to.data.join());
    }
    // By hand: [1 2; 3 4] moved by -1, 0, 1 in both directions.
    const shifts = ['0,0,0,1', '0,0,1,2', '0,0,2,0', '0,1,0,3', '1,2,3,4', '2,0,4,0', '0,3,0,0', '3,4,0,0', '4,0,0,0'];
    assert.deepEqual([...seen].sort(), shifts.sort());
    let flipped = 0;
    for (let i = 0; i < 1000; i += 1) {
      const to = blank(2, 2, 1);
      randomFlip(0.5).apply(from, to, keyedRandom(i));
      flipped += to.data[0] === 2 ? 1 : 0;
    }
    // Standard deviation 16.
    assert.ok(Math.abs(flipped - 500) < 80, String(flipped));
  });

  it('cutout blanks a square around its center, cut off at the border', () => {
    const to = grey(new Array<number>(16).fill(1), 4);
    blankSquare(to, { centerY: 0, centerX: 3, size: 2, fill: [0] });
    assert.equal(to.data.join(''), '1100111111111111');
    const odd = grey(new Array<number>(25).fill(1), 5);
    blankSquare(odd, { centerY: 2, centerX: 2, size: 3, fill: [7] });
    assert.equal(odd.data.join(''), '1111117771177711777111111');
    const out = blank(6, 6, 1);
    const ones = grey(new Array<number>(36).fill(1), 6);
    for (let i = 0; i < 50; i += 1) {
      cutout({ size: 4, holes: 1, probability: 1, fill: [0] }).apply(ones, out, keyedRandom(i));
      const blanked = out.data.filter((value) => value === 0).length;
      assert.ok(blanked >= 4 && blanked <= 16, String(blanked));
    }
  });

  it('random-resized-crop draws boxes of the areas and shapes told, inside of the image', () => {
    const random = new SeededRandom(5);
    const shares: number[] = [];
    for (let i = 0; i < 2000; i += 1) {
      const box = drawCrop({ height: 224, width: 300 }, { scale: [0.2, 0.5], ratio: [0.75, 4 / 3] }, random);
      assert.ok(box.top >= 0 && box.left >= 0 && box.top + box.height <= 224 && box.left + box.width <= 300);
      const share = (box.height * box.width) / (224 * 300);
      shares.push(share);
      // Sides are rounded to whole pixels, at least 100 of them: one percent each.
      assert.ok(share > 0.198 && share < 0.505, String(share));
      assert.ok(box.width / box.height > 0.74 && box.width / box.height < 1.35);
    }
    // Uniform on [0.2, 0.5]: mean 0.35, standard deviation of the mean 0.002.
    assert.ok(Math.abs(shares.reduce((a, b) => a + b) / 2000 - 0.35) < 0.01);
    const tall = drawCrop({ height: 1000, width: 10 }, { scale: [1, 1], ratio: [1, 1] }, random);
    assert.deepEqual(tall, { top: 495, left: 0, height: 10, width: 10 });
  });

  it('rand-augment of magnitude 0 changes little, of 9 most images, and repeats', () => {
    const changed = (magnitude: number): number => {
      const apply = (i: number): string => {
        const to = blank();
        randAugment({ operations: 2, magnitude, fill: 0 }).apply(image('smooth'), to, keyedRandom(i));
        return to.data.join();
      };
      const same = image('smooth').data.join();
      for (let i = 0; i < 20; i += 1) assert.equal(apply(i), apply(i));
      return Array.from({ length: 100 }, (_, i) => apply(i)).filter((result) => result !== same).length;
    };
    assert.ok(changed(9) > 85);
    // auto-contrast, equalize and solarize at 255 are left: at least one of them in 2 draws of 14.
    assert.ok(changed(0) < 60);
  });

  it('Beta(alpha, alpha) has the moments of the distribution', () => {
    for (const alpha of [0.2, 1, 4]) {
      const random = new SeededRandom(2);
      const draws = Array.from({ length: 20_000 }, () => betaDraw(alpha, random));
      const mean = draws.reduce((a, b) => a + b) / draws.length;
      const variance = draws.reduce((sum, draw) => sum + (draw - 0.5) ** 2, 0) / draws.length;
      // Mean 1/2, variance 1 / (4 (2 alpha + 1)); the estimates scatter by 0.004 and less.
      assert.ok(Math.abs(mean - 0.5) < 0.015, `${alpha} ${mean}`);
      assert.ok(Math.abs(variance - 1 / (4 * (2 * alpha + 1))) < 0.01, `${alpha} ${variance}`);
    }
  });
});

describe('mixing', () => {
  it('mixup blends rows and cutmix pastes boxes, by hand', () => {
    const data = Float32Array.of(0, 2, 10, 20, 4, 8);
    blendRows({ data, length: 2, image: undefined }, Uint32Array.of(1, 2, 1), Float32Array.of(0.75, 0.5, 1));
    assert.deepEqual([...data], [2.5, 6.5, 7, 14, 4, 8]);
    for (const layout of ['nchw', 'nhwc'] as const) {
      const two = Float32Array.from({ length: 2 * 2 * 3 * 3 }, (_, i) => i);
      const geometry = { layout, channels: 2, height: 3, width: 3 };
      const boxes = [
        { top: 1, bottom: 3, left: 2, right: 3 },
        { top: 0, bottom: 0, left: 0, right: 0 },
      ];
      pasteBoxes({ data: two, length: 18, image: geometry }, geometry, { partner: Uint32Array.of(1, 0), boxes });
      const pasted = layout === 'nchw' ? [5, 8, 14, 17] : [10, 11, 16, 17];
      for (let i = 0; i < 36; i += 1) assert.equal(two[i], pasted.includes(i) ? i + 18 : i, `${layout} ${i}`);
    }
  });

  it('cutmix boxes cover the share they were drawn for, unless cut off at the border', () => {
    const geometry = { layout: 'nchw', channels: 1, height: 40, width: 40 } as const;
    const random = new SeededRandom(1);
    let whole = 0;
    for (let i = 0; i < 200; i += 1) {
      const box = drawBox(geometry, 0.75, random);
      const area = (box.bottom - box.top) * (box.right - box.left);
      // sqrt(1/4) of 40 is 20 pixels a side.
      assert.ok(area <= 400 && area >= 100);
      if (area === 400) whole += 1;
    }
    assert.ok(whole > 20);
  });

  it('mixes images and labels by the same share: the batch is the mix of the unmixed one', async () => {
    const { dataset } = await makeDatasets()(images(64));
    const role = { role: 'training', preprocess: PREPROCESS } as const;
    const options = { batchSize: 32, seed: 3, labels: 'class', classes: 4 } as const;
    const [plain] = await collect((await openTrainingSource(dataset, role, [IMAGE_INPUT], options)).epoch(1));
    for (const per of ['batch', 'sample'] as const) {
      for (const name of ['mixup', 'cutmix'] as const) {
        const augment: AugmentField = [{ name, alpha: 1, probability: 1, per }];
        const [mixed] = await collect(
          (await openTrainingSource(dataset, role, [IMAGE_INPUT], { ...options, augment })).epoch(1),
        );
        assert.deepEqual(mixed?.samples, plain?.samples);
        assert.deepEqual(mixed?.labels, plain?.labels);
        const lambda = mixed?.mixed?.lambda.data;
        assert.ok(lambda instanceof Float32Array);
        if (name === 'mixup') assert.equal(new Set(lambda).size, per === 'batch' ? 1 : 32);
        else assert.ok(new Set(lambda).size > (per === 'batch' ? 0 : 4));
        const soft = softTargets({ labels: mixed!.labels!, mixed: mixed!.mixed! }, 4, 0.1);
        assert.ok(soft.data instanceof Float32Array);
        for (let row = 0; row < 32; row += 1) {
          const share = lambda[row] ?? 0;
          const own = Number(mixed?.labels?.data[row]);
          const other = Number(mixed?.mixed?.labels.data[row]);
          for (let c = 0; c < 4; c += 1) {
            const expected = 0.9 * (share * Number(c === own) + (1 - share) * Number(c === other)) + 0.025;
            assert.ok(Math.abs((soft.data[row * 4 + c] ?? 0) - expected) < 1e-6);
          }
          // With cutmix the share of own pixels is lambda (pixels are random: equal ones are rare).
          if (name !== 'cutmix') continue;
          const size = 3 * SIDE * SIDE;
          let kept = 0;
          for (let i = row * size; i < (row + 1) * size; i += 1)
            kept += Number(mixed?.feeds['x']?.data[i] === plain?.feeds['x']?.data[i]);
          const itself = kept === size;
          assert.ok(itself || Math.abs(kept / size - share) < 0.04, `${kept / size} ${share}`);
        }
      }
    }
  });

  it('mixup of probability 0 changes nothing and says so in the labels', () => {
    const data = Float32Array.of(1, 2, 3);
    const draw = { batch: new SeededRandom(1), sample: () => new SeededRandom(1) };
    const plan = mixup({ alpha: 1, probability: 0, per: 'batch' }).apply(
      [{ data, length: 1, image: undefined }],
      Uint32Array.of(2, 0, 1),
      draw,
    );
    assert.deepEqual([...data, ...plan.lambda], [1, 2, 3, 1, 1, 1]);
  });
});

describe('options', () => {
  it('are names or strict objects, with defaults', () => {
    assert.deepEqual(resolveAugmentations(AugmentField.parse(['crop4', { name: 'mixup', alpha: 0.4 }])), [
      { name: 'crop', padding: 4, mode: 'constant', fill: 0 },
      { name: 'mixup', alpha: 0.4, probability: 1, per: 'batch' },
    ]);
    for (const bad of [
      ['crop5'],
      [{ name: 'mixup', typo: 1 }],
      [{ name: 'cutout', size: 0 }],
      ['flip', { name: 'flip' }],
      ['crop4', { name: 'crop' }],
    ]) {
      assert.equal(AugmentField.safeParse(bad).success, false, JSON.stringify(bad));
    }
    assert.match(AugmentField.safeParse(['crop5']).error?.message ?? '', /there are: crop4, flip/);
  });

  it('random-resized-crop takes larger images than the model does; validation is resized', async () => {
    const { dataset } = await makeDatasets()(images(40));
    const input = tensorValue('x', 'float', ['N', 3, 5, 6]);
    const options = {
      batchSize: 8,
      seed: 3,
      validationFraction: 0.3,
      augment: ['random-resized-crop', 'flip'],
    } as const;
    const role = { role: 'training', preprocess: PREPROCESS } as const;
    const source = await openTrainingSource(dataset, role, [input], { ...options, augment: [...options.augment] });
    for await (const { feeds } of source.epoch(0)) assert.deepEqual(feeds['x']?.dims, [8, 3, 5, 6]);
    for await (const { feeds, count } of source.validation()!.batches(4))
      assert.deepEqual(feeds['x']?.dims, [count, 3, 5, 6]);
  });
});
