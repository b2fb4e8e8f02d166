import { elementCount } from '../../onnx/nd-array.ts';
import { parametersOf, separateVectors } from '../../training/parameters.ts';
import { finetuneContext } from '../finetune-context.ts';
import { namedModel } from '../named-models.ts';
import { definePass } from '../pass.ts';
import { replaceModel } from '../replace-model.ts';
import { restoreNormalization } from '../restore-normalization.ts';
import { DistillOptions } from './options.ts';
import { PAPERS } from './papers.ts';
import { architectureObstacle, studentOf, teacherOf } from './student.ts';
import type { Taught } from './teach.ts';

/** Teaches a student network what a teacher knows; the student becomes the model. */
export const distill = definePass({
  name: 'distill',
  stage: 'distill',
  description:
    'Trains a small student to behave like a large teacher: on its softened scores, its feature maps, or the relations between samples',
  papers: PAPERS,
  options: DistillOptions,
  example: {
    student: { architecture: 'resnet', depth: 8, classes: 10, inputSize: 32 },
    baseline: true,
    losses: [
      { name: 'ce', weight: 0.1 },
      { name: 'kd', weight: 0.9, temperature: 4 },
    ],
    training: { epochs: 20, batchSize: 128, learningRate: 0.1, augment: ['crop4', 'flip'] },
  },
  needs: ({ training }) => ('role' in training.validation ? ['training', training.validation.role] : ['training']),
  models: ({ student, teacher }) => [
    ...(student === 'self' || 'architecture' in student ? [] : namedModel(student, ['student'])),
    ...namedModel(teacher, ['teacher']),
  ],
  network: ({ student }) =>
    student !== 'self' && 'architecture' in student ? { request: student, path: ['student'] } : undefined,
  requires(model, { student }) {
    if (student !== 'self') return architectureObstacle(student, model);
    return parametersOf(model).length > 0
      ? undefined
      : 'the model has no float weights to train; distill before quantizing, or choose another student';
  },
  async run(model, options, context) {
    // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
    const [{ teach }, { applyTrained }, { runReport }] = await Promise.all([
      import('./teach.ts'),
      import('../../training/trained-values.ts'),
      import('../../training/run-report.ts'),
    ]);
    if (options.student === 'self') separateVectors(model.graph);
    const restored = options.restoreBatchNormalization
      ? await restoreNormalization(model, options.training, finetuneContext(context))
      : undefined;
    const student = await studentOf(options.student, model, context);
    separateVectors(student.graph);
    const teacher = await teacherOf(options, model, context);
    const taught = await teach({ teacher, student }, options, context);
    if (options.student !== 'self') replaceModel(model, student);
    const changes = applyTrained(model, taught.outcome.values) + (restored ?? 0);
    return {
      changes,
      skipped: taught.graph.untouched.map((node) => ({ node, reason: 'the loss does not depend on it' })),
      warnings: taught.warnings,
      training: [runReport('student', taught.outcome), ...(taught.alone === undefined ? [] : [taught.alone.run])],
      details: {
        ...(restored === undefined ? {} : { restoredBatchNormalizations: restored }),
        ...detailsOf(taught, options),
      },
    };
  },
  ensures: () => undefined,
});

function detailsOf(taught: Taught, options: DistillOptions): Record<string, unknown> {
  const { lesson, alone, graph } = taught;
  const parameters = graph.state.filter(({ kind, isModel }) => kind === 'parameter' && isModel);
  return {
    teacher: options.teacher?.model ?? (options.student === 'self' ? 'input' : 'model'),
    layers: Object.fromEntries(
      [...lesson.pairs].map(([loss, pairs]) => [
        loss,
        pairs.map(({ teacher, student }) => ({
          teacher: { value: teacher.value, shape: teacher.shape },
          student: { value: student.value, shape: student.shape },
        })),
      ]),
    ),
    trainedParameters: parameters.reduce((sum, { dims }) => sum + elementCount(dims), 0),
    accuracy: {
      ...(taught.teacher === undefined ? {} : { teacher: taught.teacher }),
      ...(taught.student === undefined ? {} : { student: taught.student }),
      ...(alone?.result === undefined ? {} : { studentAlone: alone.result }),
    },
    ...(taught.effect === undefined ? {} : { effect: taught.effect }),
  };
}
