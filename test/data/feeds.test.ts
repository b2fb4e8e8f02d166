import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { bindFeeds, type BindOptions, type BindRole, type BoundFeeds } from '../../src/data/bind-feeds.ts';
import type { Dataset } from '../../src/data/dataset.ts';
import { float16ToNumber, numberToBfloat16, numberToFloat16 } from '../../src/data/half-float.ts';
import type { Preprocess } from '../../src/data/image-transform.ts';
import { writeNpz } from '../../src/data/npz-writer.ts';
import { openDataset } from '../../src/data/open-dataset.ts';
import type { DataType } from '../../src/onnx/data-type.ts';
import type { NdArray, NumericArray } from '../../src/onnx/nd-array.ts';
import { tensorValue, type Shape, type ValueInfo } from '../../src/onnx/value-type.ts';
import type { FeedBatch } from '../../src/passes/pass.ts';

const fixtures = join(import.meta.dirname, '../fixtures/data');

const array = (type: Exclude<DataType, 'string'>, dims: number[], data: NumericArray): NdArray => ({
  type,
  dims,
  data,
});
const bytes = (dims: number[], ...values: number[]): NdArray => array('uint8', dims, Uint8Array.from(values));
const floats = (dims: number[], ...values: number[]): NdArray => array('float', dims, Float32Array.from(values));
const longs = (...values: number[]): NdArray => array('int64', [values.length], BigInt64Array.from(values, BigInt));
const input = (name: string, shape: Shape, type: DataType = 'float'): ValueInfo => tensorValue(name, type, shape);
const steps = (changes: Partial<Preprocess>): Preprocess => ({
  scale: 1,
  mean: 0,
  std: 1,
  layout: 'nchw',
  channelOrder: 'rgb',
  resize: null,
  ...changes,
});

let folder = '';
const open: Dataset[] = [];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tersor-test-'));
});
after(async () => {
  for (const dataset of open) await dataset.close();
  await rm(folder, { recursive: true });
});

async function dataset(arrays: Record<string, NdArray>): Promise<Dataset> {
  const path = join(folder, `${open.length}.npz`);
  await writeNpz(path, arrays);
  const made = await openDataset(path);
  open.push(made);
  return made;
}

async function bind(
  arrays: Record<string, NdArray>,
  inputs: ValueInfo[],
  role: Partial<BindRole> = {},
  options: BindOptions = {},
): Promise<BoundFeeds> {
  return bindFeeds(await dataset(arrays), { role: 'evaluation', ...role }, inputs, options);
}

async function collect(source: BoundFeeds, batchSize?: number): Promise<FeedBatch[]> {
  const batches: FeedBatch[] = [];
  for await (const batch of source.batches(batchSize)) batches.push(batch);
  return batches;
}

const numbersOf = ({ data }: NdArray): number[] => Array.from<string | number | bigint, number>(data, Number);
const feed = (batch: FeedBatch | undefined, name = 'x'): NdArray => batch!.feeds[name]!;

describe('preprocessing', () => {
  // One image of 1x2 pixels: (10, 20, 30) and (40, 50, 60).
  const nhwc = bytes([1, 1, 2, 3], 10, 20, 30, 40, 50, 60);
  const nchw = bytes([1, 3, 1, 2], 10, 40, 20, 50, 30, 60);
  const preprocess = steps({ scale: 0.5, mean: [1, 2, 3], std: [2, 4, 8] });
  // (pixel * 0.5 - mean) / std, all exact in binary.
  const r = [2, 9.5];
  const g = [2, 5.75];
  const b = [1.5, 3.375];

  it('is (pixel * scale - mean) / std per channel, from either layout to either', async () => {
    for (const images of [nhwc, nchw]) {
      const planes = await bind({ images }, [input('x', ['n', 3, 1, 2])], { preprocess });
      assert.deepEqual(feed((await collect(planes))[0]), floats([1, 3, 1, 2], ...r, ...g, ...b));
      const pixels = await bind({ images }, [input('x', ['n', 1, 2, 3])], {
        preprocess: { ...preprocess, layout: 'nhwc' },
      });
      assert.deepEqual(numbersOf(feed((await collect(pixels))[0])), [2, 2, 1.5, 9.5, 5.75, 3.375]);
    }
  });

  it('takes mean and std in the order the model has its channels', async () => {
    const source = await bind({ images: nhwc }, [input('x', ['n', 3, 1, 2])], {
      preprocess: { ...preprocess, channelOrder: 'bgr' },
    });
    // blue first: (30*0.5-1)/2, (60*0.5-1)/2, ...
    assert.deepEqual(numbersOf(feed((await collect(source))[0])), [7, 14.5, 2, 5.75, 0.25, 2.125]);
  });

  it('rounds once, from double precision', async () => {
    const source = await bind({ images: bytes([1, 1, 1, 2], 7, 255) }, [input('x', [1, 1, 1, 2])], {
      preprocess: steps({ scale: 1 / 255, mean: 0.286, std: 0.353 }),
    });
    const expected = [7, 255].map((pixel) => Math.fround((pixel * (1 / 255) - 0.286) / 0.353));
    assert.deepEqual(numbersOf(feed((await collect(source))[0])), expected);
  });

  it('serves float16, double and uint8 inputs', async () => {
    const images = bytes([1, 1, 1, 2], 3, 6);
    const third = steps({ scale: 1 / 3 });
    const half = await bind({ images }, [input('x', [1, 1, 1, 2], 'float16')], { preprocess: third });
    assert.deepEqual(numbersOf(feed((await collect(half))[0])).map(float16ToNumber), [1, 2]);
    const double = await bind({ images }, [input('x', [1, 1, 1, 2], 'double')], { preprocess: steps({ mean: 0.1 }) });
    assert.deepEqual(numbersOf(feed((await collect(double))[0])), [2.9, 5.9]);
    const raw = await bind({ images: bytes([1, 1, 2, 3], 1, 2, 3, 4, 5, 6) }, [input('x', [1, 3, 1, 2], 'uint8')], {
      preprocess: steps({}),
    });
    assert.deepEqual(feed((await collect(raw))[0]), bytes([1, 3, 1, 2], 1, 4, 2, 5, 3, 6));
    await assert.rejects(bind({ images }, [input('x', [1, 1, 1, 2], 'uint8')], { preprocess: third }), {
      code: 'DATASET_SHAPE',
    });
  });

  it('adds a channel axis to [N, H, W], and needs none for flat or channel-less inputs', async () => {
    const images = bytes([1, 1, 2], 1, 2);
    const halved = steps({ scale: 0.5 });
    for (const [data, shape] of [
      [images, [1, 1, 1, 2]],
      [images, ['b', 1, 2]],
      [bytes([1, 2], 1, 2), ['b', 2]],
    ] as const) {
      const source = await bind({ data }, [input('x', shape)], { preprocess: halved });
      const fed = feed((await collect(source))[0]);
      assert.deepEqual(numbersOf(fed), [0.5, 1]);
      assert.deepEqual(
        fed.dims,
        shape.map((dim) => (dim === 'b' ? 1 : dim)),
      );
    }
  });

  it('resizes arrays of pixels', async () => {
    const images = bytes([2, 1, 2, 2], 5, 5, 5, 5, 9, 9, 9, 9);
    const source = await bind({ images }, [input('x', ['b', 1, 3, 4])], {
      preprocess: steps({ resize: { height: 3, width: 4, fit: 'fill' } }),
    });
    const fed = feed((await collect(source))[0]);
    assert.deepEqual(fed.dims, [2, 1, 3, 4]);
    assert.deepEqual(numbersOf(fed), [...new Array<number>(12).fill(5), ...new Array<number>(12).fill(9)]);
  });

  it('is not applied to floats', async () => {
    const source = await bind({ x: floats([1, 2], 3, 4) }, [input('x', ['b', 2])], { preprocess: steps({ scale: 9 }) });
    assert.deepEqual(numbersOf(feed((await collect(source))[0])), [3, 4]);
  });

  it('says what does not fit, with both shapes', async () => {
    await assert.rejects(bind({ images: nhwc }, [input('x', ['n', 3, 8, 8])], { preprocess }), {
      code: 'DATASET_SHAPE',
      message: /images is uint8 \[1, 1, 2, 3\], model input x takes float \[n, 3, 8, 8\].*resize/,
    });
    await assert.rejects(
      bind({ images: nhwc }, [input('x', ['n', 3, 1, 2])], { preprocess: steps({ mean: [1, 2] }) }),
      {
        code: 'DATASET_SHAPE',
        message: /mean has 2 values.*3 channels/,
      },
    );
  });

  it('decodes image folders to what the model takes', async () => {
    const set = await openDataset(join(fixtures, 'images.zip'));
    open.push(set);
    const rgb = bindFeeds(set, { role: 'training', preprocess: steps({}) }, [input('x', ['b', 3, 4, 5])], {
      classes: 3,
    });
    const [first] = await collect(rgb, 6);
    assert.deepEqual(feed(first).dims, [6, 3, 4, 5]);
    assert.deepEqual(numbersOf(first!.labels!), [0, 1, 2, 1, 2, 1]);
    const grey = bindFeeds(set, { role: 'training' }, [input('x', [1, 1, 4, 5])], {});
    assert.equal((await collect(grey)).length, 6);
    const wrong = bindFeeds(set, { role: 'training' }, [input('x', [1, 3, 8, 8])], {});
    await assert.rejects(collect(wrong), { code: 'DATASET_SHAPE', message: /\[1, 3, 4, 5\].*\[1, 3, 8, 8\].*resize/ });
    const resize = steps({ resize: { height: 8, width: 8, fit: 'cover' } });
    const right = bindFeeds(set, { role: 'training', preprocess: resize }, [input('x', [1, 3, 8, 8])], {});
    assert.deepEqual(feed((await collect(right))[0]).dims, [1, 3, 8, 8]);
  });
});

describe('choosing arrays', () => {
  const a = floats([2, 1], 1, 2);
  const b = floats([2, 1], 3, 4);
  const labels = longs(0, 1);

  it('goes by the map, by equal name, then to the only one left', async () => {
    const [x, y] = [input('x', ['b', 1]), input('y', ['b', 1])];
    assert.deepEqual(
      [...(await bind({ x: b, other: a, labels }, [x, y])).arrays],
      [
        ['x', 'x'],
        ['y', 'other'],
      ],
    );
    assert.deepEqual([...(await bind({ x: b, y: a }, [x], { inputs: { x: 'y' } })).arrays], [['x', 'y']]);
    assert.deepEqual([...(await bind({ pixels: a, labels }, [x])).arrays], [['x', 'pixels']]);
    assert.deepEqual(
      [...(await bind({ pixels: a, truth: labels }, [x], { labels: 'truth' })).arrays],
      [['x', 'pixels']],
    );
  });

  for (const [what, arrays, role, message] of [
    [
      'two candidates',
      { a, b },
      {},
      /No array for model input x \(float \[b, 1\]\): the data set has a \(float \[2, 1\]\), b/,
    ],
    ['a map to nothing', { a }, { inputs: { x: 'c' } }, /maps x to array c; the data set has a/],
    ['a map of a stranger', { a }, { inputs: { z: 'a' } }, /names z, the model's inputs are x/],
  ] as const) {
    it(`refuses ${what}`, async () => {
      await assert.rejects(bind(arrays, [input('x', ['b', 1])], role), { code: 'DATASET_SHAPE', message });
    });
  }

  it('refuses arrays of different lengths', async () => {
    await assert.rejects(bind({ x: a, labels: longs(0, 1, 2) }, [input('x', ['b', 1])]), {
      code: 'DATASET_SHAPE',
      message: /x \(float \[2, 1\]\) and labels \(int64 \[3\]\)/,
    });
  });

  it('holds a symbol to one size', async () => {
    const inputs = [input('x', ['b', 'n']), input('y', ['b', 'n'])];
    await assert.rejects(bind({ x: a, y: floats([2, 2], 1, 2, 3, 4) }, inputs), {
      code: 'DATASET_SHAPE',
      message: /Dimension n is 1 .* and 2/,
    });
  });

  it('takes names that are properties of every object for names', async () => {
    const source = await bind({ constructor: a, labels }, [input('constructor', ['b', 1])]);
    assert.deepEqual([...source.arrays], [['constructor', 'constructor']]);
    assert.deepEqual(numbersOf(feed((await collect(source))[0], 'constructor')), [1, 2]);
  });
});

describe('batches', () => {
  const five = floats([5, 1], 1, 2, 3, 4, 5);
  const shape = async (
    dims: Shape,
    batchSize?: number,
    options: BindOptions = {},
  ): Promise<(number | number[])[][]> => {
    const batches = await collect(await bind({ x: five }, [input('x', dims)], {}, options), batchSize);
    return batches.map((batch) => [batch.count, numbersOf(feed(batch))]);
  };

  it('have the size that is asked for, where the model leaves it open', async () => {
    assert.deepEqual(await shape(['b', 1], 3), [
      [3, [1, 2, 3]],
      [2, [4, 5]],
    ]);
    assert.deepEqual(await shape([null, 1], undefined, { batchSize: 4 }), [
      [4, [1, 2, 3, 4]],
      [1, [5]],
    ]);
  });

  it('have the size the model prescribes; the last is filled up', async () => {
    assert.deepEqual(await shape([2, 1], 3), [
      [2, [1, 2]],
      [2, [3, 4]],
      [1, [5, 5]],
    ]);
    assert.equal((await shape([1, 1], 3)).length, 5);
  });

  it('are single samples for an input without a batch axis', async () => {
    const source = await bind({ x: floats([2, 1, 3], 1, 2, 3, 4, 5, 6), sr: longs(8, 16) }, [
      input('x', [1, 3]),
      input('sr', [], 'int64'),
    ]);
    const batches = await collect(source, 32);
    assert.deepEqual(
      batches.map((batch) => [numbersOf(feed(batch)), feed(batch).dims, feed(batch, 'sr').dims]),
      [
        [[1, 2, 3], [1, 3], []],
        [[4, 5, 6], [1, 3], []],
      ],
    );
  });

  it('repeat, and stay within range and samples', async () => {
    const source = await bind({ x: five }, [input('x', ['b', 1])], { range: [1, 4], samples: 2 });
    for (let pass = 0; pass < 2; pass += 1) assert.deepEqual(numbersOf(feed((await collect(source))[0])), [2, 3]);
    assert.equal(source.samples, 2);
    assert.deepEqual(source.warnings, []);
  });

  it('clamp what asks for too much, and say so', async () => {
    const source = await bind({ x: five }, [input('x', ['b', 1])], { range: [3, 9], samples: 7 });
    assert.equal(source.samples, 2);
    assert.equal(source.warnings.length, 2);
    await assert.rejects(bind({ x: five }, [input('x', ['b', 1])], { range: [5, 9] }), { code: 'DATASET_EMPTY' });
  });
});

describe('types', () => {
  const fed = async (from: NdArray, type: DataType): Promise<number[]> =>
    numbersOf(feed((await collect(await bind({ x: from }, [input('x', ['b'], type)])))[0]));
  const double = (...values: number[]): NdArray => array('double', [values.length], Float64Array.from(values));

  it('are converted where nothing is lost, floats rounded', async () => {
    assert.deepEqual(await fed(longs(-3, 16777216), 'float'), [-3, 16777216]);
    assert.deepEqual(await fed(longs(-3, 7), 'int32'), [-3, 7]);
    assert.deepEqual(await fed(bytes([2], 0, 255), 'int64'), [0, 255]);
    assert.deepEqual(await fed(bytes([2], 0, 255), 'float'), [0, 255]);
    assert.deepEqual(await fed(array('bool', [2], Uint8Array.of(0, 1)), 'int64'), [0, 1]);
    assert.deepEqual(await fed(double(0.1), 'float'), [Math.fround(0.1)]);
    assert.deepEqual(await fed(floats([1], 0.5), 'float16'), [0x3800]);
  });

  it('are refused where something would be', async () => {
    await assert.rejects(fed(longs(16777217), 'float'), { code: 'DATASET_SHAPE', message: /16777217/ });
    await assert.rejects(fed(longs(2 ** 31), 'int32'), { code: 'DATASET_SHAPE' });
    await assert.rejects(fed(longs(-1), 'uint8'), { code: 'DATASET_SHAPE' });
    await assert.rejects(fed(bytes([1], 2), 'bool'), { code: 'DATASET_SHAPE' });
    await assert.rejects(fed(floats([1], 1), 'int64'), { code: 'DATASET_SHAPE', message: /types do not fit/ });
    await assert.rejects(fed(array('complex64', [1], new Float32Array(2)), 'float'), { code: 'DATASET_SHAPE' });
  });

  it('round half floats to even', () => {
    // IEEE 754: 65519 is below the middle between 65504 and 65536, 65520 is it and goes up; 2^-25 is half the smallest.
    assert.deepEqual(
      [1, -2, 65504, 65519, 65520, 2 ** -24, 2 ** -25, 2 ** -25 * 1.5, 2049, 2051].map(numberToFloat16),
      [0x3c00, 0xc000, 0x7bff, 0x7bff, 0x7c00, 1, 0, 1, 0x6800, 0x6802],
    );
    for (let bits = 0; bits < 65536; bits += 1) {
      const number = float16ToNumber(bits);
      if (!Number.isNaN(number)) assert.equal(numberToFloat16(number), bits);
    }
    assert.deepEqual([1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, NaN].map(numberToBfloat16), [0x3f80, 0x3f80, 0x3f82, 0x7fc0]);
  });

  it('count what is not finite', async () => {
    const source = await bind({ x: floats([4, 1], 1, NaN, Infinity, 2) }, [input('x', ['b', 1])]);
    assert.equal(source.nonFinite, 0);
    for (let pass = 0; pass < 2; pass += 1) await collect(source, 3);
    assert.equal(source.nonFinite, 2);
    assert.match(source.warnings[0]!, /2 input values are NaN or infinite/);
  });
});

describe('labels', () => {
  const x = floats([2, 1], 1, 2);
  const labelsOf = async (
    labels: NdArray,
    options: BindOptions = {},
    role: Partial<BindRole> = {},
  ): Promise<NdArray | undefined> =>
    (await collect(await bind({ x, labels }, [input('x', ['b', 1])], role, options)))[0]?.labels;

  it('are int64 class indices or float targets', async () => {
    assert.deepEqual(await labelsOf(longs(1, 0), { classes: 2 }), longs(1, 0));
    assert.deepEqual(await labelsOf(bytes([2, 1], 7, 9)), longs(7, 9));
    assert.deepEqual(await labelsOf(array('double', [2], Float64Array.of(0.5, 2))), floats([2], 0.5, 2));
  });

  it('are checked against the classes', async () => {
    await assert.rejects(labelsOf(longs(0, 10), { classes: 10 }), {
      code: 'DATASET_LABELS',
      message: /sample 1 in labels is 10, expected 0 to 9/,
    });
    await assert.rejects(labelsOf(longs(-1, 0)), { code: 'DATASET_LABELS', message: /sample 0 in labels is -1/ });
    await assert.rejects(labelsOf(longs(0, 1), {}, { labels: 'truth' }), {
      code: 'DATASET_LABELS',
      message: /no array truth/,
    });
    await assert.rejects(labelsOf(array('complex64', [2], new Float32Array(4))), { code: 'DATASET_LABELS' });
  });

  it('stay away from calibration unless it names them', async () => {
    assert.equal(await labelsOf(longs(0, 99), { classes: 2 }, { role: 'calibration' }), undefined);
    assert.deepEqual(await labelsOf(longs(0, 1), {}, { role: 'calibration', labels: 'labels' }), longs(0, 1));
  });

  it('of one class are worth a warning', async () => {
    const source = await bind({ x, labels: longs(3, 3) }, [input('x', ['b', 1])]);
    await collect(source, 1);
    assert.match(source.warnings[0]!, /All 2 samples have the label 3/);
    assert.deepEqual(source.labels, { array: 'labels', kind: 'class' });
  });
});
