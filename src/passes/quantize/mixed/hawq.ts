import { CompressionError, defined } from '../../../errors.ts';
import type { Model } from '../../../onnx/model.ts';
import type { TraceProbe } from '../../../training/hessian-trace.ts';
import { parametersOf } from '../../../training/parameters.ts';
import { finetuneContext } from '../../finetune-context.ts';
import type { PassContext } from '../../pass.ts';
import { dequantized } from '../repair/simulation.ts';
import { computeUnits, type StaticPlan } from '../static-run.ts';
import { valuesOf, weightKey } from '../weight-plan.ts';
import { choiceLabel, type MixedLayer } from './layers.ts';
import { uniformPlans, type Sensitivity, type SensitivityRun, type SensitivityTable } from './sensitivities.ts';

/** A trace is an estimate, and no minimum is perfect: none counts for less than this share of the largest. */
const LEAST_TRACE = 1e-6;

/**
 * What the loss rises by when a weight is rounded, to second order and with the Hessian's mean eigenvalue for all of them: half of
 * tr(H) / n * ||Q(w) - w||², H the Hessian of the loss with respect to the layer's n weights. Activations are not looked at.
 *
 * @param run.model - what codes are made for
 * @param trained - the same network, as the training engine takes it
 * @throws CompressionError PASS_PRECONDITION for a layer without a gradient, DATASET_*, TRAIN_NO_GRADIENT; AbortError when canceled
 * @see Dong et al., "HAWQ-V2", NeurIPS 2020, eq. 11
 */
export async function hessianSensitivities(
  run: Pick<SensitivityRun, 'model' | 'layers' | 'request'>,
  trained: Model,
  probe: TraceProbe,
  context: PassContext,
): Promise<SensitivityTable> {
  const { layers } = run;
  // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
  const { hessianTraces } = await import('../../../training/hessian-trace.ts');
  const parameters = new Set(parametersOf(trained).map(({ name }) => name));
  const names = [...new Set(layers.map(weightName))];
  const traces = await hessianTraces(
    trained,
    names.filter((name) => parameters.has(name)),
    probe,
    finetuneContext(context),
  );
  const plans = await uniformPlans(run, context);
  const least = LEAST_TRACE * Math.max(...traces.values(), 0);
  return layers.map((layer) => {
    const found = traces.get(weightName(layer));
    if (found === undefined) {
      throw new CompressionError(
        'PASS_PRECONDITION',
        `${layer.label}: the loss has no gradient for its weight "${weightName(layer)}"; give its type in layers, exclude it, or measure sensitivity "sqnr"`,
      );
    }
    const meanEigenvalue = Math.max(found, least) / layer.elements;
    return layer.candidates.map((candidate): Sensitivity => {
      const planned = plans.get(choiceLabel(candidate));
      const squaredError = planned === undefined ? 0 : squaredErrorOf(layer, planned);
      return { loss: 0.5 * meanEigenvalue * squaredError, trace: found, squaredError };
    });
  });
}

function weightName({ units }: MixedLayer): string {
  return defined(units[0]?.weight, 'weight of the layer').tensor.name;
}

/** ||Q(w) - w||² of the layer's weight. */
function squaredErrorOf(layer: MixedLayer, { plan, weights }: StaticPlan): number {
  const key = weightKey(defined(layer.units[0]?.weight, 'weight of the layer'));
  const unit = computeUnits(plan).find(({ weight }) => weight !== undefined && weightKey(weight) === key);
  if (unit?.weight === undefined) return 0;
  const rounded = dequantized(weights.weightOf(unit));
  const { factor } = unit.weight;
  let sum = 0;
  // The trace is that of the tensor, without the factor that the codes hold.
  for (const [i, value] of valuesOf(unit.weight).entries()) sum += (((rounded[i] ?? 0) - value) / factor) ** 2;
  return sum;
}
