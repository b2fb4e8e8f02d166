import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { float16ToNumber } from '../../src/data/half-float.ts';
import { encodeNpy, writeNpz } from '../../src/data/npz-writer.ts';
import { parseNpyHeader } from '../../src/data/npy-header.ts';
import { describeDataset, openDataset } from '../../src/data/open-dataset.ts';
import { allocate, elementCount, type NdArray } from '../../src/onnx/nd-array.ts';

const fixtures = join(import.meta.dirname, '../fixtures/data');

/** The values as numpy's tolist gives them: integers as text, the rest as numbers. */
function valuesOf(array: NdArray): (string | number)[] {
  return Array.from<string | number | bigint, string | number>(array.data, (value) => {
    if (array.type === 'float16') return float16ToNumber(Number(value));
    if (array.type.includes('int')) return String(value);
    return Number(value);
  });
}

async function readWhole(path: string, name: string, batchSize: number, memoryBudgetBytes?: number): Promise<NdArray> {
  const dataset = await openDataset(path, memoryBudgetBytes === undefined ? {} : { memoryBudgetBytes });
  try {
    const parts: NdArray[] = [];
    for await (const batch of dataset.batches({ batchSize, names: [name] })) parts.push(batch.arrays[name]!);
    const dims = [parts.reduce((sum, part) => sum + part.dims[0]!, 0), ...parts[0]!.dims.slice(1)];
    const data = parts.flatMap((part) => Array.from<string | number | bigint>(part.data));
    return { type: parts[0]!.type, dims, data } as unknown as NdArray;
  } finally {
    await dataset.close();
  }
}

describe('npy arrays as numpy writes them', async () => {
  const expected = JSON.parse(await readFile(join(fixtures, 'types.json'), 'utf8')) as Record<
    string,
    { shape: number[]; values: (string | number)[] }
  >;
  for (const file of ['types-stored.npz', 'types-deflated.npz']) {
    for (const [name, { shape, values }] of Object.entries(expected)) {
      if (shape.length === 0) continue;
      // A budget of nothing makes compressed members stream; Fortran order then needs memory or a stored member.
      const budgets = name === 'fortran' && file === 'types-deflated.npz' ? [undefined] : [undefined, 0];
      for (const budget of budgets) {
        it(`${file}: ${name}, ${budget === undefined ? 'held' : 'streamed'}`, async () => {
          for (const batchSize of [1, 2, 100]) {
            const array = await readWhole(join(fixtures, file), name, batchSize, budget);
            assert.deepEqual(array.dims, shape);
            assert.deepEqual(valuesOf(array), values);
          }
        });
      }
    }
  }

  it('describes headers, scalars included', async () => {
    const info = await describeDataset(join(fixtures, 'types-stored.npz'));
    assert.equal(info.kind, 'npz');
    assert.equal(info.samples, 3);
    const byName = new Map(info.arrays?.map(({ name, type, shape }) => [name, `${type} [${shape.join(',')}]`]));
    assert.equal(byName.get('big_f4'), 'float [3,2]');
    assert.equal(byName.get('little_b1'), 'bool [3,2]');
    assert.equal(byName.get('big_c16'), 'complex128 [3,2]');
    assert.equal(byName.get('scalar'), 'float []');
  });

  it('reads a bare .npy file as the array data', async () => {
    const info = await describeDataset(join(fixtures, 'fortran.npy'));
    assert.deepEqual(info, { kind: 'npy', samples: 3, arrays: [{ name: 'data', type: 'int32', shape: [3, 4, 2] }] });
    assert.deepEqual(
      valuesOf(await readWhole(join(fixtures, 'fortran.npy'), 'data', 2, 0)),
      expected['fortran']!.values,
    );
  });

  it('turns a compressed Fortran array away that is too large to be turned in memory', async () => {
    await assert.rejects(readWhole(join(fixtures, 'types-deflated.npz'), 'fortran', 2, 8), { code: 'DATASET_LIMIT' });
  });
});

describe('the npy header', () => {
  const header = (text: string, version = 1): Uint8Array => {
    const length = Buffer.alloc(version === 1 ? 2 : 4);
    if (version === 1) length.writeUInt16LE(text.length);
    else length.writeUInt32LE(text.length);
    return Buffer.concat([
      Buffer.from(`\x93NUMPY${String.fromCharCode(version)}\0`, 'latin1'),
      length,
      Buffer.from(text),
    ]);
  };
  const good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

  it('takes what numpy of any age writes', () => {
    for (const text of [good, good.replace('(2, 3)', '(2L, 3L)'), `${good}   \n`, good.replaceAll("'", '"')]) {
      assert.deepEqual(parseNpyHeader(header(text), 'x').shape, [2, 3], text);
    }
    assert.deepEqual(parseNpyHeader(header(good.replace('(2, 3)', '()')), 'x').shape, []);
    assert.deepEqual(parseNpyHeader(header(good.replace('(2, 3)', '(7,)')), 'x').shape, [7]);
  });

  for (const [what, text] of [
    ['an expression', good.replace('(2, 3)', '(2*3, 3)')],
    ['a call', good.replace('False', '__import__("os").system("true")')],
    ['a negative size', good.replace('2, 3', '-2, 3')],
    ['a missing key', "{'descr': '<f4', 'shape': (2, 3), }"],
    ['a key twice', good.replace("'shape'", "'descr': '<f4', 'shape'")],
    ['an unknown key', good.replace("'shape'", "'more': '<f4', 'shape'")],
    ['text behind the dictionary', `${good} x`],
    ['no end', good.slice(0, -1)],
    ['escapes in strings', good.replace('<f4', '\\x3cf4')],
    ['a structured type', good.replace("'<f4'", "[('a', '<f4')]")],
    ['an unknown type', good.replace('<f4', '<f16')],
    ['dates', good.replace('<f4', '<M8[ns]')],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.throws(() => parseNpyHeader(header(text), 'x'), { code: 'DATASET_PARSE' });
    });
  }

  it('never holds more than it can count', () => {
    assert.throws(() => parseNpyHeader(header(good.replace('2, 3', '9007199254740991, 1024')), 'x'), {
      code: 'DATASET_LIMIT',
    });
    assert.throws(() => parseNpyHeader(header(good.replace('2, 3', '99999999999999999999')), 'x'), {
      code: 'DATASET_PARSE',
    });
  });

  it('sees pickles in structured types, too', () => {
    assert.throws(() => parseNpyHeader(header(good.replace("'<f4'", "[('a', '|O')]")), 'x'), {
      code: 'DATASET_PICKLE',
    });
  });
});

describe('writeNpz', () => {
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-test-'));
  });
  after(() => rm(folder, { recursive: true }));

  const types = [
    'bool',
    'int8',
    'uint8',
    'int16',
    'uint16',
    'int32',
    'uint32',
    'int64',
    'uint64',
    'float16',
    'float',
    'double',
    'complex64',
    'complex128',
  ] as const;
  const anyArray = fc
    .record({
      type: fc.constantFrom(...types),
      dims: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
      bytes: fc.uint8Array({ minLength: 64, maxLength: 64 }),
    })
    .map(({ type, dims, bytes }): NdArray => {
      const data = allocate(type, elementCount(dims));
      const view = new Uint8Array(data.buffer);
      for (let i = 0; i < view.length; i += 1) view[i] = type === 'bool' ? bytes[i % 64]! & 1 : bytes[i % 64]!;
      return { type, dims, data };
    });

  it('gives back every bit of every type', async () => {
    await fc.assert(
      fc.asyncProperty(anyArray, fc.boolean(), fc.integer({ min: 1, max: 5 }), async (array, compress, batchSize) => {
        const path = join(folder, 'round.npz');
        await writeNpz(path, { 'a b': array }, { compress });
        const dataset = await openDataset(path);
        try {
          const bytes: Buffer[] = [];
          for await (const batch of dataset.batches({ batchSize })) {
            const { data, type } = batch.arrays['a b']!;
            assert.equal(type, array.type);
            assert.ok(ArrayBuffer.isView(data));
            bytes.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
          }
          assert.deepEqual(Buffer.concat(bytes), Buffer.from((array.data as Uint8Array).buffer));
          assert.deepEqual(dataset.info.arrays?.[0]?.shape, array.dims);
        } finally {
          await dataset.close();
        }
      }),
      { numRuns: 60 },
    );
  });

  it('writes the header numpy writes', async () => {
    // The bytes before the data of the member `vector`, which numpy wrote: int64 (3,).
    const stored = await readFile(join(fixtures, 'types-stored.npz'));
    const ours = Buffer.from(encodeNpy({ type: 'int64', dims: [3], data: new BigInt64Array([0n, 1n, 2n]) }));
    assert.ok(stored.includes(ours));
  });

  it('is the same file for the same arrays', async () => {
    const array: NdArray = { type: 'float', dims: [2], data: new Float32Array([1, 2]) };
    await writeNpz(join(folder, 'a.npz'), { x: array });
    await writeNpz(join(folder, 'b.npz'), { x: array });
    assert.deepEqual(await readFile(join(folder, 'a.npz')), await readFile(join(folder, 'b.npz')));
  });
});

describe('batches of an npz', () => {
  const path = join(import.meta.dirname, '../../examples/fashion-mnist/evaluation.npz');

  it('gives arrays in lockstep, from any sample, again and again, held or streamed', async () => {
    const read = async (memoryBudgetBytes: number): Promise<string[]> => {
      const dataset = await openDataset(path, { memoryBudgetBytes });
      const seen: string[] = [];
      for (let pass = 0; pass < 2; pass += 1) {
        for await (const { from, count, arrays } of dataset.batches({ from: 7, to: 40, batchSize: 10 })) {
          const { images, labels } = arrays;
          const sum = (images!.data as Uint8Array).reduce((total, pixel) => total + pixel, 0);
          seen.push(`${from} ${count} ${images!.dims.join('x')} ${sum} ${Array.from<unknown>(labels!.data).join(',')}`);
        }
      }
      await dataset.close();
      return seen;
    };
    const held = await read(1e9);
    assert.equal(held.length, 8);
    assert.deepEqual(held.slice(0, 4), held.slice(4));
    assert.deepEqual(await read(0), held);
    assert.match(held[3]!, /^37 3 3x1x28x28 /);
  });

  it('refuses arrays of different lengths together, and unknown names', async () => {
    const types = await openDataset(join(fixtures, 'types-stored.npz'));
    const all = async (names: string[]): Promise<void> => {
      for await (const batch of types.batches({ batchSize: 1, names })) assert.ok(batch.count);
    };
    await assert.rejects(all(['vector', 'scalar']), { code: 'DATASET_SHAPE' });
    await assert.rejects(all(['vektor']), { code: 'DATASET_SHAPE' });
    await types.close();
  });
});
