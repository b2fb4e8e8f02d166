import { defined } from '../../../errors.ts';
import type { PassContext } from '../../pass.ts';
import { nodeLabel } from '../node-filter.ts';
import { targetRules } from '../target.ts';
import type { AwareExport } from './export-aware.ts';
import type { AwareOptions } from './options.ts';

/** The pass's own numbers. */
export function detailsOfAware(
  { plan, weights, params }: AwareExport,
  options: AwareOptions,
  context: PassContext,
): Record<string, unknown> {
  return {
    method: options.method,
    target: context.targetCpu,
    targetExplanation: targetRules(context).explanation,
    calibrationSamples: context.observations?.samples ?? 0,
    layers: plan.layers.map(({ key, unit, weightBits, activationBits }) => {
      const { scales, type, tensor } = defined(weights.get(key), `codes of "${key}"`);
      return {
        node: nodeLabel(unit.node),
        operator: unit.node.opType,
        weight: {
          name: tensor.name,
          shape: tensor.dims,
          bits: weightBits,
          storedAs: type,
          scaleMin: scales.reduce((a, b) => Math.min(a, b)),
          scaleMax: scales.reduce((a, b) => Math.max(a, b)),
        },
        activationBits,
      };
    }),
    activations: [...params].map(([value, { scale, zeroPoint, range, interval }]) => ({
      value,
      bits: Math.log2(range[1] + 1),
      min: interval.min,
      max: interval.max,
      scale,
      zeroPoint,
    })),
  };
}

export function warningsOfAware(options: AwareOptions, { targetCpu }: PassContext): string[] {
  const warnings: string[] = [];
  if (options.storage === 'packed' && options.weights <= 4 && targetCpu !== 'int8-only') {
    warnings.push(
      `CPUs have no kernels for ${options.weights}-bit weights: the file is smaller, the layers compute in float between quantizers and are slower than before. With storage "int8" they run on int8 kernels, at a byte a weight.`,
    );
  }
  if (options.distillation !== false && options.training.loss !== 'cross-entropy') {
    warnings.push('distillation needs class scores: with this loss the labels alone teach.');
  }
  return warnings;
}
