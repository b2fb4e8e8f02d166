import type { TrainingRunReport } from '../schemas/training-report.ts';
import type { TrainingOutcome } from './trainer.ts';

/** A run as the report has it. */
export function runReport(name: TrainingRunReport['name'], outcome: TrainingOutcome): TrainingRunReport {
  return {
    name,
    plannedEpochs: outcome.plannedEpochs,
    epochs: outcome.curve.map(({ validation, parts, ...epoch }) => ({
      ...epoch,
      ...(parts === undefined ? {} : { parts }),
      ...(validation === undefined
        ? {}
        : { validation: { ...validation, value: Number.isFinite(validation.value) ? validation.value : null } }),
    })),
    keptEpoch: outcome.epoch,
    keptBy: outcome.keptBy,
    stoppedEarly: outcome.stoppedEarly,
    learningRate: outcome.learningRate,
    updates: outcome.updates,
    divergences: [...outcome.divergences],
    resumedAt: [...outcome.resumedAt],
  };
}
