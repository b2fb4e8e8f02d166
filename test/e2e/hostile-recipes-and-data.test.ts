import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ErrorCode } from '../../src/errors.ts';
import { npy, npyHeader, zip } from '../data/archives.ts';
import { HOSTILE_CASES } from '../data/hostile-cases.ts';
import { goodModel } from './hostile-models.ts';
import { idOf, jobChildren, LiveService, problemOf } from './live-service.ts';

const DYNAMIC = { pass: 'quantize.dynamic' };
const STATIC = { pass: 'quantize.static' };
const steps = (...list: unknown[]) => ({ version: 1, steps: list });

/** Samples for the input of goodModel: [count, 4], and labels where they are given. */
function samples(rows: readonly (readonly number[])[], labels?: readonly number[]): Buffer {
  const flat = Float32Array.from(rows.flat());
  const x = npy(npyHeader('<f4', `(${rows.length}, ${rows[0]?.length ?? 0})`), new Uint8Array(flat.buffer));
  if (labels === undefined) return zip([{ name: 'x.npy', data: x }]);
  const ids = npy(npyHeader('<i4', `(${labels.length},)`), new Uint8Array(Int32Array.from(labels).buffer));
  return zip([
    { name: 'x.npy', data: x },
    { name: 'labels.npy', data: ids },
  ]);
}

describe('hostile recipes and data, as a client sends them', () => {
  let service: LiveService;
  let model: string;
  let dataset: string;
  before(async () => {
    service = await LiveService.start({
      JOB_MEMORY_BYTES: String(2 ** 30),
      DATASET_MAX_BYTES: '200000000',
      WORKER_CONCURRENCY: '2',
    });
    model = await service.uploaded('models', goodModel());
    dataset = await service.uploaded(
      'datasets',
      samples([
        [1, 2, 3, 4],
        [4, 3, 2, 1],
        [0, 0, 1, 0],
      ]),
    );
  });
  after(async () => {
    await service.stop();
    assert.deepEqual(jobChildren(), [], 'a child is left');
  });
  const submit = (body: object) => service.submit({ model, recipe: 'int8-dynamic', ...body });
  const run = (body: object) => service.run({ model, recipe: 'int8-dynamic', ...body });

  const REFUSED: readonly (readonly [name: string, body: object, code: ErrorCode])[] = [
    ['R1 an unknown step', { recipe: steps({ pass: 'shrink' }) }, 'RECIPE_INVALID'],
    ['R2 an order that cannot be', { recipe: steps(DYNAMIC, { pass: 'canonicalize' }) }, 'RECIPE_INVALID'],
    ['R3 three bits', { recipe: steps({ ...DYNAMIC, weights: 'int3' }) }, 'RECIPE_INVALID'],
    ['R4 500 steps', { recipe: steps(...Array.from({ length: 500 }, () => DYNAMIC)) }, 'RECIPE_INVALID'],
    ['R5 no time', { deadlineSeconds: 0 }, 'BODY_INVALID'],
    ['R5 ten years', { deadlineSeconds: 315_360_000 }, 'BODY_INVALID'],
    ['R6 a metric that is no number', { constraints: { minSpeedup: 'NaN' } }, 'BODY_INVALID'],
    ['R10 an output path', { output: '../../x' }, 'BODY_INVALID'],
    ['R11 session options', { recipe: steps({ ...DYNAMIC, extra: { profile: true } }) }, 'RECIPE_INVALID'],
    ['R12 a seed of 2^64', { seed: 2 ** 64 }, 'BODY_INVALID'],
    ['R14 no calibration data', { recipe: steps(STATIC) }, 'BODY_INVALID'],
    [
      'R15 calibration of 0 samples',
      { data: { calibration: { dataset: 'dst_0123456789abcdef', samples: 0 } } },
      'BODY_INVALID',
    ],
    ['R16 a recipe of another version', { recipe: { version: 2, steps: [DYNAMIC] } }, 'RECIPE_INVALID'],
  ];
  for (const [name, body, code] of REFUSED)
    it(`${name}: 400`, async () => {
      const answer = await submit(body);
      assert.equal(answer.status, 400, JSON.stringify(answer.body));
      assert.equal(problemOf(answer).code, code);
    });

  for (const [name, pattern] of [
    ['R7 layers that are not there', 'no-such-layer'],
    ['R8 a regular expression is a plain name', '(a+)+$'],
    ['R9 a prototype is a plain name', '__proto__'],
    ['R9 a constructor is a plain name', 'constructor'],
  ] as const)
    it(`${name}: the job fails with RECIPE_NO_MATCH`, async () => {
      const job = await run({ recipe: steps({ ...DYNAMIC, exclude: [pattern] }) });
      assert.equal(job.error?.code, 'RECIPE_NO_MATCH', JSON.stringify(job.error));
      assert.ok(job.error.message.includes(pattern));
    });

  it('R6 a target nobody reaches is missed, not failed; R13 the same recipe gives the same bytes', async () => {
    const body = { constraints: { maxBytes: 1 } };
    const [first, second] = await Promise.all([run(body), run(body)]);
    assert.equal(first.status, 'succeeded', JSON.stringify(first.error));
    assert.equal(first.verdict, 'missed');
    assert.deepEqual(await service.artifact(first, 'model.onnx'), await service.artifact(second, 'model.onnx'));
  });

  it('R15 more samples than there are: the job takes those there are', async () => {
    const job = await run({ recipe: steps(STATIC), data: { calibration: { dataset, samples: 500 } } });
    assert.equal(job.status, 'succeeded', JSON.stringify(job.error));
    const report = JSON.stringify(JSON.parse((await service.artifact(job, 'report.json')).toString('utf8')));
    assert.match(report, /3 samples|"samples":3|3 of 500/);
  });

  // Those with limits of their own are cases of the reader; the others come in as a client would send them.
  for (const { name, bytes, code } of HOSTILE_CASES.filter((hostile) => hostile.limits === undefined))
    it(`${name}: ${code}`, async () => {
      const answer = await service.upload('datasets', typeof bytes === 'function' ? await bytes() : bytes);
      if (answer.status === 422) {
        assert.equal(problemOf(answer).code, code, JSON.stringify(answer.body));
        return;
      }
      // Sound at a glance: reading it all shows.
      const id = idOf(answer);
      const job = await run({ recipe: steps(STATIC), data: { calibration: { dataset: id } } });
      assert.equal(job.status, 'failed');
      assert.match(job.error?.code ?? '', /^DATASET_/, JSON.stringify(job.error));
    });

  const calibrate = (id: string) => run({ recipe: steps(STATIC), data: { calibration: { dataset: id } } });
  const evaluate = (id: string) => run({ data: { evaluation: { dataset: id } } });

  it('D10 samples of another shape: DATASET_SHAPE with both shapes', async () => {
    const job = await calibrate(await service.uploaded('datasets', samples([[1, 2, 3]])));
    assert.equal(job.error?.code, 'DATASET_SHAPE', JSON.stringify(job.error));
    assert.match(job.error.message, /3/);
    assert.match(job.error.message, /4/);
  });

  it('D11 labels out of range: DATASET_LABELS', async () => {
    const job = await evaluate(await service.uploaded('datasets', samples([[1, 2, 3, 4]], [99])));
    assert.equal(job.error?.code, 'DATASET_LABELS', JSON.stringify(job.error));
  });

  it('D12 pixels that are no numbers are said, not hidden', async () => {
    const job = await calibrate(
      await service.uploaded(
        'datasets',
        samples([
          [Number.NaN, 1, 2, 3],
          [1, 2, 3, 4],
        ]),
      ),
    );
    const said = job.error?.message ?? (await service.artifact(job, 'report.json')).toString('utf8');
    assert.match(said, /NaN|not a number|finite/i);
  });

  it('D14 a single line of 100 MB: DATASET_PARSE', async () => {
    const answer = await service.upload('datasets', Buffer.alloc(100_000_000, 'a'));
    assert.equal(problemOf(answer).code, 'DATASET_PARSE');
  });

  it('after all of them: nothing answered 5xx, the service is alive, and a good job succeeds', async () => {
    assert.equal((await service.request('/healthz')).status, 200);
    const job = await calibrate(dataset);
    assert.equal(job.status, 'succeeded', JSON.stringify(job.error));
    assert.deepEqual(service.failures, []);
  });
});
