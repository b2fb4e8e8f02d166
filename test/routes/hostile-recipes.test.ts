// The R list of the threat model: recipes that cannot be, or that nobody means.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startApp, type TestApp } from '../helpers/http-app.ts';
import { addModel } from '../helpers/onnx-bytes.ts';
import { npy } from './npy-bytes.ts';

interface Case {
  readonly name: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly status?: number;
  readonly code?: string;
  readonly pointer?: string;
  readonly message?: RegExp;
}
const steps = (...list: unknown[]) => ({ recipe: { version: 1, steps: list } });
const DYNAMIC = { pass: 'quantize.dynamic' };

const CASES: readonly Case[] = [
  {
    name: 'R1 unknown pass',
    body: steps({ pass: 'prune.everything' }),
    code: 'RECIPE_INVALID',
    pointer: '/recipe/steps/0/pass',
    message: /quantize\.dynamic/,
  },
  { name: 'R1 unknown pass in the second step', body: steps(DYNAMIC, { pass: 'x' }), pointer: '/recipe/steps/1/pass' },
  { name: 'R1 a step without a pass', body: steps({ weights: 'int8' }), pointer: '/recipe/steps/0/pass' },
  { name: 'R1 unknown preset', body: { recipe: 'int3' }, pointer: '/recipe', message: /int8-dynamic/ },
  { name: 'a recipe that is a number', body: { recipe: 7 }, pointer: '/recipe' },
  { name: 'a recipe that is null', body: { recipe: null }, pointer: '/recipe' },
  { name: 'a step that is a string', body: steps('quantize.dynamic'), pointer: '/recipe/steps/0' },
  { name: 'no steps', body: steps(), pointer: '/recipe/steps' },
  {
    name: 'R2 an order that cannot be',
    body: steps(DYNAMIC, { pass: 'canonicalize' }),
    code: 'RECIPE_INVALID',
    pointer: '/recipe/steps/1/pass',
    message: /first/,
  },
  {
    name: 'R2 canonicalize twice',
    body: steps({ pass: 'canonicalize' }, { pass: 'canonicalize' }),
    pointer: '/recipe/steps/1/pass',
  },
  {
    name: 'R3 a type that does not exist',
    body: steps({ ...DYNAMIC, weights: 'int3' }),
    pointer: '/recipe/steps/0/weights',
  },
  {
    name: 'R3 a string for a boolean',
    body: steps({ ...DYNAMIC, perChannel: 'true' }),
    pointer: '/recipe/steps/0/perChannel',
  },
  {
    name: 'R3 maxAccuracyDrop 1.5',
    body: { constraints: { maxAccuracyDrop: 1.5 } },
    pointer: '/constraints/maxAccuracyDrop',
  },
  { name: 'R3 maxBytes -1', body: { constraints: { maxBytes: -1 } }, pointer: '/constraints/maxBytes' },
  {
    name: 'R4 500 steps',
    body: steps(...Array.from({ length: 500 }, () => DYNAMIC)),
    pointer: '/recipe/steps',
    message: /32/,
  },
  {
    name: 'R4 a list of 10,000 globs',
    body: steps({ ...DYNAMIC, exclude: Array.from({ length: 10_000 }, () => 'a') }),
    pointer: '/recipe/steps/0/exclude',
  },
  {
    name: 'an unknown architecture',
    body: { model: { architecture: 'resnit' } },
    pointer: '/model/architecture',
    message: /resnet/,
  },
  {
    name: 'an unknown option of one',
    body: { model: { architecture: 'resnet', deepth: 8 } },
    pointer: '/model/deepth',
  },
  { name: 'a depth no network has', body: { model: { architecture: 'resnet', depth: 9 } }, pointer: '/model/depth' },
  { name: 'a model that is a number', body: { model: 5 }, pointer: '/model' },
  { name: 'R5 deadline 0', body: { deadlineSeconds: 0 }, pointer: '/deadlineSeconds' },
  { name: 'R5 deadline of 10 years', body: { deadlineSeconds: 315_360_000 }, pointer: '/deadlineSeconds' },
  {
    name: 'R5 a deadline above what the operator allows',
    body: { deadlineSeconds: 50_000 },
    code: 'BODY_INVALID',
    pointer: '/deadlineSeconds',
  },
  { name: 'R10 an output name of the client', body: { output: '../../x' }, pointer: '/output' },
  {
    name: 'R11 session options',
    body: steps({ ...DYNAMIC, extra: { optimizedModelFilePath: '/tmp/x' } }),
    pointer: '/recipe/steps/0/extra',
  },
  { name: 'R12 seed 2^64', body: { seed: 2 ** 64 }, pointer: '/seed' },
  { name: 'R12 seed -1', body: { seed: -1 }, pointer: '/seed' },
  { name: 'R12 seed 1.5', body: { seed: 1.5 }, pointer: '/seed' },
  {
    name: 'R15 calibration of 0 samples',
    body: { data: { calibration: { dataset: 'dst_0123456789abcdef', samples: 0 } } },
    pointer: '/data/calibration/samples',
  },
  {
    name: 'R16 a recipe of another version',
    body: { recipe: { version: 2, steps: [DYNAMIC] } },
    pointer: '/recipe/version',
  },
  { name: 'threads 0', body: { threads: 0 }, pointer: '/threads' },
  { name: 'an unknown CPU', body: { target: { cpu: 'gpu' } }, pointer: '/target/cpu' },
  {
    name: 'an unknown role',
    body: { data: { validation: { dataset: 'dst_0123456789abcdef' } } },
    pointer: '/data/validation',
  },
  { name: 'std 0', body: { preprocess: { std: [0.2, 0, 0.2] } }, pointer: '/preprocess/std' },
  {
    name: 'a range that ends before it starts',
    body: { data: { evaluation: { dataset: 'dst_0123456789abcdef', range: [5, 5] } } },
    pointer: '/data/evaluation/range',
  },
  {
    name: 'an accuracy constraint without data to judge it',
    body: { constraints: { maxAccuracyDrop: 0.01 } },
    pointer: '/constraints/maxAccuracyDrop',
  },
  {
    name: 'a model that is not there',
    body: { model: 'mdl_ffffffffffffffff' },
    status: 404,
    code: 'NOT_FOUND',
    pointer: '/model',
  },
  {
    name: 'a data set that is not there',
    body: { data: { evaluation: { dataset: 'dst_ffffffffffffffff' } } },
    status: 404,
    code: 'NOT_FOUND',
    pointer: '/data/evaluation/dataset',
  },
  {
    name: 'a webhook that is refused',
    body: { webhook: { url: 'http://127.0.0.1/' } },
    code: 'WEBHOOK_URL_REFUSED',
    pointer: '/webhook/url',
  },
  {
    name: 'a webhook for an unknown event',
    body: { webhook: { url: 'https://a.example', events: ['job.exploded'] } },
    pointer: '/webhook/events/0',
  },
  {
    name: 'R6 NaN as a limit is not JSON',
    body: { constraints: { minSpeedup: '__NaN__' } },
    pointer: '/constraints/minSpeedup',
  },
];

describe('hostile recipes', () => {
  let test: TestApp;
  let model: string;
  let dataset: string;
  before(async () => {
    test = await startApp();
    const headers = { 'content-type': 'application/octet-stream' };
    const upload = await test.app.inject({ method: 'POST', url: '/v1/models', headers, payload: addModel() });
    model = upload.json<{ id: string }>().id;
    const data = await test.app.inject({ method: 'POST', url: '/v1/datasets', headers, payload: npy([10, 4]) });
    dataset = data.json<{ id: string }>().id;
  });
  after(() => test.close());
  const post = (body: object) =>
    test.app.inject({ method: 'POST', url: '/v1/jobs', payload: { model, recipe: 'int8-dynamic', ...body } });

  for (const { name, body, status = 400, code, pointer, message } of CASES)
    it(`${name}: ${status}`, async () => {
      const response = await post(body);
      assert.equal(response.statusCode, status, response.body);
      const problem = response.json<{ code: string; errors: { pointer: string; message: string }[] }>();
      if (code !== undefined) assert.equal(problem.code, code);
      const place = problem.errors.find((error) => error.pointer === pointer);
      assert.ok(place !== undefined, `no ${pointer ?? ''} in ${response.body}`);
      if (message !== undefined) assert.match(place.message, message);
    });

  it('R14 a step that needs data the job does not give: 400 at the role, for presets too', async () => {
    for (const recipe of ['int8', { version: 1, steps: [{ pass: 'quantize.static' }] }]) {
      const response = await post({ recipe });
      assert.equal(response.statusCode, 400, response.body);
      const { errors } = response.json<{ errors: { pointer: string; message: string }[] }>();
      assert.deepEqual(
        errors.map(({ pointer }) => pointer),
        ['/data/calibration'],
      );
      assert.match(errors[0]?.message ?? '', /quantize\.static needs calibration data/);
    }
    assert.equal((await post({ recipe: 'int8', data: { calibration: { dataset } } })).statusCode, 202);
  });

  it('lists every wrong place at once', async () => {
    const response = await post({ seed: 'x', threads: 0, typo: 1, recipe: { steps: [{ pass: 'nope' }] } });
    const { errors } = response.json<{ errors: { pointer: string }[] }>();
    assert.deepEqual(errors.map(({ pointer }) => pointer).sort(), [
      '/recipe/steps/0/pass',
      '/seed',
      '/threads',
      '/typo',
    ]);
  });

  it('R8 and R9: regular expressions and the names of prototypes are plain names of nodes', async () => {
    const response = await post(steps({ ...DYNAMIC, exclude: ['(a+)+$', '__proto__', 'constructor'] }));
    assert.equal(response.statusCode, 202, response.body);
  });

  it('R15 a range beyond the data set: 400; more samples than there are is taken, the worker clamps', async () => {
    const beyond = await post({ data: { evaluation: { dataset, range: [5, 11] } } });
    assert.equal(beyond.statusCode, 400, beyond.body);
    assert.match(beyond.body, /\/data\/evaluation\/range\/1/);
    assert.match(beyond.body, /10 samples/);
    assert.equal((await post({ data: { evaluation: { dataset, samples: 500 } } })).statusCode, 202);
  });

  it('names inputs and arrays that do not exist, and lists those that do', async () => {
    const response = await post({ data: { evaluation: { dataset, inputs: { z: 'images' }, labels: 'klass' } } });
    assert.equal(response.statusCode, 400);
    const { errors } = response.json<{ errors: { pointer: string; message: string }[] }>();
    assert.deepEqual(
      errors.map(({ pointer }) => pointer),
      ['/data/evaluation/inputs/z', '/data/evaluation/inputs/z', '/data/evaluation/labels'],
    );
    assert.match(errors[0]?.message ?? '', /it has: "x"/);
  });
});
