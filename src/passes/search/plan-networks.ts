import type { Model } from '../../onnx/model.ts';
import { SearchSpace } from '../../search/space.ts';
import type { PassContext } from '../pass.ts';
import type { ArchitectureOptions } from './architecture-options.ts';
import { violationOf } from './goals.ts';
import { interfaceOptions } from './interface-options.ts';
import { figuresAhead, networkDimensions, networkOrReason, requestOf } from './networks.ts';
import type { SearchPlan } from './run-search.ts';
import { epochsAt, plannedOptions } from './search-options.ts';
import type { StrategyName } from './strategies.ts';

/** The search among networks, each candidate one that is trained from fresh weights. */
export function planNetworks(
  model: Model,
  options: ArchitectureOptions & { readonly strategy: StrategyName },
  context: PassContext,
): SearchPlan {
  const given = interfaceOptions(model);
  const space = new SearchSpace(networkDimensions(options.space));
  const { seed, costTable } = context;
  return {
    space,
    seed,
    ...plannedOptions(options),
    prepare(point, budget) {
      const request = requestOf(options.space, given, point);
      const network = networkOrReason(request);
      if (typeof network === 'string') return { figures: {}, reason: network };
      const figures = figuresAhead(network, costTable);
      const missed = violationOf(figures, options.constraints, true);
      if (missed > 0) return { figures, reason: 'beyond the limits before any training' };
      return {
        spec: {
          model: request,
          recipe: {
            version: 1,
            steps: [
              {
                pass: 'train.finetune',
                training: { ...options.training, epochs: epochsAt(options.training.epochs, budget) },
              },
            ],
          },
          measure: 'light',
          seed,
          ...(options.evaluationSamples === undefined ? {} : { evaluationSamples: options.evaluationSamples }),
        },
      };
    },
  };
}
