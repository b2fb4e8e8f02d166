import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeModel } from '../../src/onnx/codec/decode.ts';
import type { JobRecord } from '../../src/schemas/job.ts';
import { Report } from '../../src/schemas/report.ts';
import { isAdder } from '../../src/zoo/adder2d.ts';
import { EXAMPLE, FASHION, WorkerService } from '../helpers/worker-service.ts';

const SMALL = { architecture: 'addernet', depth: 8, width: 0.25, head: 'linear', inputSize: 28, inputChannels: 1 };
const TRAINING = { epochs: 6, batchSize: 32, learningRate: 0.1, validation: { fraction: 0 } };

describe('an AdderNet in a job', () => {
  let service: WorkerService;
  let dataset: { id: string; sha256: string };
  before(async () => {
    service = await WorkerService.start();
    dataset = await service.uploadDataset(`${EXAMPLE}/calibration.npz`);
  });
  after(() => service.stop());

  const data = (): object => ({
    training: { dataset: dataset.id, range: [0, 320] },
    calibration: { dataset: dataset.id, samples: 64 },
  });
  const reportOf = async (record: JobRecord): Promise<Report> => {
    assert.equal(record.status, 'succeeded', JSON.stringify(record.error));
    return Report.parse(JSON.parse((await service.artifact(record, 'report.json')).toString('utf8')));
  };

  it('is trained from scratch; int8 then takes stem and head, leaves the adder layers alone and says why', async () => {
    const steps = [{ pass: 'train.finetune', training: TRAINING }, { pass: 'quantize.static' }];
    const job = await service.submit({
      model: SMALL,
      recipe: { version: 1, steps },
      inputs: { training: dataset.sha256, calibration: dataset.sha256 },
      data: data(),
      preprocess: { ...FASHION },
      // Whatever can be integer has to be; where the cost table decides, layers this small stay in float.
      target: { cpu: 'int8-only' },
    });
    const record = await service.finished(job.id, 120_000);
    const report = await reportOf(record);
    const losses = report.steps.find(({ pass }) => pass === 'train.finetune')?.training?.[0]?.epochs;
    const [first, last] = [losses?.at(0)?.loss ?? NaN, losses?.at(-1)?.loss ?? NaN];
    assert.ok(last < 0.7 * first, `loss ${first} to ${last}`);
    const operations = report.result.operations;
    assert.ok(operations !== undefined && operations.additions > 5 * operations.multiplications);

    const model = decodeModel(await service.artifact(record, 'model.onnx'));
    const adders = model.graph.nodes.filter(isAdder);
    assert.equal(adders.length, 8);
    assert.ok(adders.every(({ inputs }) => model.graph.initializers.get(inputs[1] ?? '')?.dataType === 'float'));
    const isInteger = (tensor: { dataType: string; dims: readonly number[] }): boolean =>
      tensor.dataType.endsWith('int8') && tensor.dims.length > 1;
    const quantized = [...model.graph.initializers.values()].filter(isInteger).map(({ dims }) => dims.join());
    assert.deepEqual(quantized.sort(), ['10,16', '4,1,3,3']);
    const skipped = report.steps.find(({ pass }) => pass === 'quantize.static')?.skipped ?? [];
    for (const { name } of adders) {
      assert.match(skipped.find(({ node }) => node === name)?.reason ?? '', /no int8 kernel for Adder2D/);
    }
  });

  it('learns from a teacher made of convolutions', async () => {
    const model = await service.uploadModel(`${EXAMPLE}/fashion-resnet8.onnx`);
    const losses = [
      { name: 'kd', weight: 0.9 },
      { name: 'ce', weight: 0.1 },
    ];
    const job = await service.submit({
      model: model.id,
      recipe: { version: 1, steps: [{ pass: 'distill', student: SMALL, losses, training: TRAINING }] },
      inputs: { model: model.sha256, training: dataset.sha256, calibration: dataset.sha256 },
      data: data(),
      preprocess: { ...FASHION },
    });
    const report = await reportOf(await service.finished(job.id, 120_000));
    const [run] = report.steps.find(({ pass }) => pass === 'distill')?.training ?? [];
    assert.ok((run?.epochs.at(-1)?.loss ?? NaN) < 0.8 * (run?.epochs.at(0)?.loss ?? NaN));
  });
});
