import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import request from 'supertest';
import { Job } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import { LiveService } from './live-service.ts';

const EXAMPLE = 'examples/fashion-mnist';
const BINARY = 'application/octet-stream';

/** superagent keeps a binary body only when told how. */
const asBuffer = (response: request.Response, done: (error: Error | null, body: Buffer) => void): void => {
  const chunks: Buffer[] = [];
  response.on('data', (chunk: Buffer) => chunks.push(chunk));
  response.on('end', () => done(null, Buffer.concat(chunks)));
};

async function upload(url: string, path: string, file: string): Promise<string> {
  const response = await request(url)
    .post(path)
    .set('content-type', BINARY)
    .send(await readFile(`${EXAMPLE}/${file}`));
  assert.equal(response.status, 201, JSON.stringify(response.body));
  return (response.body as { id: string }).id;
}

describe('a model compressed through the API', () => {
  let service: LiveService;
  let job: Job;
  before(async () => {
    service = await LiveService.start();
  });
  after(() => service.stop());

  it('runs from upload to a smaller model with a report', async () => {
    const model = await upload(service.url, '/v1/models', 'fashion-resnet8.onnx');
    const calibration = await upload(service.url, '/v1/datasets?name=calibration', 'calibration.npz');
    const evaluation = await upload(service.url, '/v1/datasets?name=evaluation', 'evaluation.npz');
    const created = await request(service.url)
      .post('/v1/jobs')
      .set('idempotency-key', 'e2e-1')
      .send({
        model,
        recipe: { version: 1, steps: [{ pass: 'quantize.static' }] },
        data: { calibration: { dataset: calibration, samples: 128 }, evaluation: { dataset: evaluation } },
        preprocess: { scale: 1 / 255, mean: 0.286, std: 0.353 },
        constraints: { maxAccuracyDrop: 0.02, maxBytes: 100_000 },
        threads: 1,
      });
    assert.equal(created.status, 202, JSON.stringify(created.body));
    const { id } = Job.parse(created.body);
    assert.equal(created.headers['location'], `/v1/jobs/${id}`);

    const events = await request(service.url).get(`/v1/jobs/${id}/events`).buffer(true);
    assert.match(events.text, /event: job\.succeeded/, events.text.slice(-2000));
    job = Job.parse((await request(service.url).get(`/v1/jobs/${id}`)).body);
    assert.equal(job.status, 'succeeded');
    assert.equal(job.verdict, 'met');
    assert.ok((job.summary?.bytes.after ?? Infinity) < 100_000);

    const report = Report.parse((await request(service.url).get(`/v1/jobs/${id}/report`)).body);
    assert.deepEqual(
      report.steps.map(({ pass }) => pass),
      ['canonicalize', 'quantize.static'],
    );
    // 1,860 of these 2,000 images are right in float (examples/fashion-mnist/README.md).
    assert.equal(report.baseline.accuracy?.value, 0.93);
    assert.ok((report.result.accuracy?.value ?? 0) > 0.915);
  });

  it('gives the artifact whole and in ranges, under its hash', async () => {
    const path = `/v1/jobs/${job.id}/artifacts/model.onnx`;
    const whole = await request(service.url).get(path).buffer(true).parse(asBuffer);
    const bytes = whole.body as Buffer;
    const etag = `"${createHash('sha256').update(bytes).digest('hex')}"`;
    assert.equal(whole.headers['etag'], etag);
    const part = await request(service.url).get(path).set('range', 'bytes=10-19').buffer(true).parse(asBuffer);
    assert.equal(part.status, 206);
    assert.deepEqual(part.body, bytes.subarray(10, 20));
    const beyond = await request(service.url).get(path).set('range', `bytes=${bytes.length}-`);
    assert.equal(beyond.status, 416);
  });

  it('answers a repeated submission with the same job, and another body under its key with 422', async () => {
    const body = { model: job.model, recipe: { version: 1, steps: [{ pass: 'quantize.dynamic' }] } };
    const other = await request(service.url).post('/v1/jobs').set('idempotency-key', 'e2e-1').send(body);
    assert.equal(other.status, 422);
    assert.equal((other.body as { code: string }).code, 'IDEMPOTENCY_KEY_REUSED');
  });

  it('removes a finished job with its artifacts', async () => {
    assert.equal((await request(service.url).delete(`/v1/jobs/${job.id}`)).status, 204);
    assert.equal((await request(service.url).get(`/v1/jobs/${job.id}`)).status, 404);
    assert.equal((await request(service.url).get(`/v1/jobs/${job.id}/artifacts/model.onnx`)).status, 404);
  });
});
