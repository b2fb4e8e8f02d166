import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Job } from '../../src/schemas/job.ts';
import type { DryRun } from '../../src/schemas/plan.ts';
import type { Problem } from '../../src/schemas/common.ts';
import { startApp, type TestApp } from '../helpers/http-app.ts';
import { addModel } from '../helpers/onnx-bytes.ts';
import { npy } from './npy-bytes.ts';

describe('models that a step names', () => {
  let test: TestApp;
  let teacher: string;
  let student: string;
  let dataset: string;
  const upload = async (url: string, payload: Buffer): Promise<string> => {
    const headers = { 'content-type': 'application/octet-stream' };
    return (await test.app.inject({ method: 'POST', url, headers, payload })).json<{ id: string }>().id;
  };
  const submit = (id: string) =>
    test.app.inject({
      method: 'POST',
      url: '/v1/jobs',
      payload: {
        model: teacher,
        recipe: { steps: [{ pass: 'distill', student: { model: id } }] },
        data: { training: { dataset } },
      },
    });
  before(async () => {
    test = await startApp();
    teacher = await upload('/v1/models', addModel());
    student = await upload('/v1/models', addModel({ producer: 'student' }));
    dataset = await upload('/v1/datasets', npy([10, 4]));
  });
  after(() => test.close());

  it('must exist', async () => {
    const response = await submit('mdl_00000000000000000000000000000000');
    assert.equal(response.statusCode, 404, response.body);
    const { errors } = response.json<Problem>();
    assert.equal(errors?.[0]?.pointer, '/recipe/steps/0/student/model');
  });

  it('of the zoo must be possible, and tell the size of the result', async () => {
    const plan = (student: object) =>
      test.app.inject({
        method: 'POST',
        url: '/v1/jobs?dryRun=true',
        payload: {
          model: teacher,
          recipe: { steps: [{ pass: 'distill', student }] },
          data: { training: { dataset } },
        },
      });
    const mlp = { architecture: 'mlp', depth: 1, width: 16, classes: 10, inputSize: 4, inputChannels: 1 };
    const { estimate } = (await plan(mlp)).json<DryRun>();
    // 16 x 16 + 16 and 16 x 10 + 10 parameters of 4 bytes.
    assert.equal(estimate.outputBytes, 4 * (16 * 16 + 16 + 16 * 10 + 10));
    const impossible = await plan({ architecture: 'vit', inputSize: 30 });
    assert.equal(impossible.statusCode, 400, impossible.body);
    assert.match(impossible.json<Problem>().errors?.[0]?.pointer ?? '', /^\/recipe\/steps\/0\/student\/inputSize$/);
  });

  it('are not deleted while the job needs them', async () => {
    const response = await submit(student);
    assert.equal(response.statusCode, 202, response.body);
    const busy = await test.app.inject({ method: 'DELETE', url: `/v1/models/${student}` });
    assert.equal(busy.statusCode, 409);
    assert.equal(busy.json<{ code: string }>().code, 'IN_USE');
    await test.app.inject({ method: 'POST', url: `/v1/jobs/${response.json<Job>().id}/cancel` });
    assert.equal((await test.app.inject({ method: 'DELETE', url: `/v1/models/${student}` })).statusCode, 204);
  });
});
