import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bindFeeds } from '../../src/data/bind-feeds.ts';
import { encodeModel } from '../../src/onnx/codec/encode.ts';
import type { Model } from '../../src/onnx/model.ts';
import { runStep } from '../../src/passes/pass-manager.ts';
import { PASSES } from '../../src/passes/registry.ts';
import { buildArchitecture } from '../../src/zoo/build-architecture.ts';
import { SIDE, stripes, teacherNet, trainingContext } from './distill/helpers.ts';

const DATA = stripes(48);
const ID = 'mdl_0123456789abcdef';
const training = { epochs: 1, batchSize: 16, learningRate: 0.02, validation: { fraction: 0.25 } };

/** Steps that learn from a model's scores: with the place of the teacher in their options. */
const STEPS = [
  { pass: 'distill', options: { losses: [{ name: 'kd' }], training }, place: ['teacher'] },
  { pass: 'prune.unstructured', options: { schedule: 'gradual', training }, place: ['distillation', 'teacher'] },
  { pass: 'prune.pattern', options: { schedule: 'gradual', training }, place: ['distillation', 'teacher'] },
  { pass: 'quantize.aware', options: { training }, place: ['distillation', 'teacher'] },
  { pass: 'quantize.binary', options: { training }, place: ['distillation', 'teacher'] },
  { pass: 'quantize.ternary', options: { training }, place: ['distillation', 'teacher'] },
];
type Step = (typeof STEPS)[number];

const passOf = ({ pass: name }: Step) => PASSES.find((pass) => pass.name === name)!;

function optionsOf({ options, place }: Step, isNamed: boolean): object {
  const teacher = isNamed ? { teacher: { model: ID } } : {};
  const taught = place[0] === 'teacher' ? teacher : { distillation: { weight: 1, ...teacher } };
  return { ...options, ...taught };
}

/** The bytes that come of a small network, taught by `teacher` or, without one, by itself as it came. */
async function resultOf(step: Step, teacher?: Model): Promise<Uint8Array> {
  const model = teacherNet(1);
  const pass = passOf(step);
  const feeds = bindFeeds(DATA, { role: 'calibration' }, teacherNet(1).graph.inputs);
  const context = trainingContext(model, DATA, {
    data: { training: feeds, calibration: feeds },
    input: teacherNet(1),
    openModel: (id) => (id === ID && teacher !== undefined ? Promise.resolve(teacher) : Promise.reject(new Error(id))),
  });
  await runStep(model, { pass, options: pass.options.parse(optionsOf(step, teacher !== undefined)) }, context);
  return encodeModel(model);
}

describe('another model as the teacher', () => {
  for (const step of STEPS) {
    it(`is what ${step.pass} learns from`, async () => {
      const alone = await resultOf(step);
      assert.deepEqual(await resultOf(step, teacherNet(1)), alone);
      assert.notDeepEqual(await resultOf(step, teacherNet(2, { width: 0.5 })), alone);
    });

    it(`is named by ${step.pass}, to be fetched ahead`, () => {
      const pass = passOf(step);
      assert.deepEqual(pass.models!(pass.options.parse(optionsOf(step, true))), [
        { id: ID, path: [...step.place, 'model'], as: 'teacher' },
      ]);
      assert.deepEqual(pass.models!(pass.options.parse(optionsOf(step, false))), []);
    });

    it(`has the outputs of the model that ${step.pass} trains`, async () => {
      const options = { architecture: 'resnet', depth: 8, inputSize: SIDE, inputChannels: 1, classes: 5 } as const;
      await assert.rejects(resultOf(step, buildArchitecture(options, 1)), {
        code: 'PASS_PRECONDITION',
        message: /teacher.*of the network is .*\[.*5\].* of the model .*3\]/,
      });
    });
  }
});
