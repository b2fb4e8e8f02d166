import type { NdArray } from '../onnx/nd-array.ts';
import type { Model } from '../onnx/model.ts';
import type { Runtime } from '../runtime/session.ts';
import { fixNetwork } from './fixed-network.ts';
import { knowledgeDistillation } from './losses/soft-targets.ts';
import { Teacher } from './teacher.ts';
import type { LossBuilder } from './training-graph.ts';

/** What a network in training learns from another one's scores, beside its task. */
export interface TeacherSettings {
  /** Has the inputs and the scores of the student. */
  readonly model: Model;
  /** Share of the loss, 0..1; the task keeps the rest. */
  readonly weight: number;
  readonly temperature: number;
}

/** Name of the graph input that takes the teacher's scores. */
const TEACHER_SCORES = 'teacher_scores';

/** A teacher at work: its loss, and its scores for each batch. */
export class LessonOfTeacher {
  readonly #settings: TeacherSettings;
  readonly #teacher: Teacher;
  readonly #scores: string;

  private constructor(settings: TeacherSettings, teacher: Teacher, scores: string) {
    this.#settings = settings;
    this.#teacher = teacher;
    this.#scores = scores;
  }

  /**
   * @param shapes - of a batch's arrays, by input name
   * @throws CompressionError MODEL_LOAD, LIMIT_MEMORY, MODEL_UNSUPPORTED
   */
  static async create(
    settings: TeacherSettings,
    shapes: Readonly<Record<string, readonly number[]>>,
    runtime: { readonly runtime: Runtime; readonly threads: number },
  ): Promise<LessonOfTeacher> {
    const network = fixNetwork(settings.model, shapes);
    const teacher = await Teacher.create(network, [network.scores], runtime);
    return new LessonOfTeacher(settings, teacher, network.scores);
  }

  /** The task's loss with the teacher's share beside it: Hinton's distillation of the scores. */
  beside(task: LossBuilder): LossBuilder {
    const { weight, temperature } = this.#settings;
    return (context) => {
      const teacher = context.input(TEACHER_SCORES, 'float', context.scores.shape);
      const lesson = knowledgeDistillation(
        context.b,
        context.scores,
        { value: teacher, shape: context.scores.shape },
        temperature,
      );
      return [
        ...task(context).map((loss) => ({ ...loss, weight: loss.weight * (1 - weight), name: 'task' })),
        { fragment: lesson, weight, name: 'kd' },
      ];
    };
  }

  /** @throws CompressionError MODEL_RUN */
  async feeds(batch: Readonly<Record<string, NdArray>>): Promise<Record<string, NdArray>> {
    const scores = (await this.#teacher.run(batch)).get(this.#scores);
    return scores === undefined ? {} : { [TEACHER_SCORES]: scores };
  }

  release(): Promise<void> {
    return this.#teacher.release();
  }
}
