import { askTell } from './ask-tell.ts';
import type { Budget } from './budget.ts';
import type { PolicyGradientOptions } from './policy-gradient.ts';
import { advantages, armOf, armsOf, draw, gradientOf, softmax, step, withinArm } from './softmax-policy.ts';
import type { Coordinates, SearchSpace } from './space.ts';
import type { Strategy } from './strategy.ts';

export interface LayerPolicyOptions extends PolicyGradientOptions {
  /** The layers, and what their choices may cost together. */
  readonly budget: Budget;
}

/** A decision for one layer, as it was or would be made. */
interface Decision {
  /** What is seen of a layer; empty for what is none. */
  readonly state: readonly number[];
  readonly p: Float64Array;
}

/**
 * Policy gradient that goes from layer to layer as the agents of AMC and HAQ do: what a layer becomes is drawn by a softmax whose
 * logits are linear in an observation (its place, its features, what the layer before became, how much of the budget is left), shared by all
 * layers, plus what is learned of this layer itself. Drawn is only what leaves the later layers a way within the budget (AMC); what comes
 * otherwise, points given to begin with and mutations, walks down to it (HAQ). Their agents are actors and critics
 * trained over hundreds of episodes; here are tens of trials, so the policy is linear and learned by REINFORCE, its advantages as in `policyGradient`.
 *
 * Dimensions that are no layers have a policy each. Layers are choices, all of the same values in the same order.
 * @see He et al., "AMC", ECCV 2018; Wang et al., "HAQ", CVPR 2019; Williams, 1992
 */
export function layerPolicy(space: SearchSpace, options: LayerPolicyOptions): Strategy {
  const { budget, baselineDecay = 0.9, scalarize, learningRate = 0.3, entropyWeight = 0.05 } = options;
  return askTell(space, options, (rng) => {
    const policy = new LayerPolicy(space, budget, { learningRate, entropyWeight });
    const advantageOf = advantages(scalarize, baselineDecay);
    return {
      propose: () => {
        const chosen: number[] = [];
        for (const d of space.dimensions.keys()) {
          const { p } = policy.decide(d, chosen);
          const at = draw(p, rng.uniform());
          chosen.push(policy.isLayer(d) ? at : withinArm(at, p.length, space.count(d), rng.uniform()));
        }
        return chosen;
      },
      observe(batch) {
        for (const { coordinates, ...trial } of batch)
          policy.learn(coordinates, advantageOf({ coordinates, ...trial }));
      },
    };
  });
}

interface Rates {
  readonly learningRate: number;
  readonly entropyWeight: number;
}

class LayerPolicy {
  readonly #space: SearchSpace;
  readonly #budget: Budget;
  readonly #rates: Rates;
  /** By dimension, what is learned of it alone. */
  readonly #own: readonly Float64Array[];
  /** By choice, weights on the observation. */
  readonly #shared: readonly Float64Array[];
  /** The layers in order. */
  readonly #layers: readonly number[];

  constructor(space: SearchSpace, budget: Budget, rates: Rates) {
    this.#space = space;
    this.#budget = budget;
    this.#rates = rates;
    this.#layers = [...space.dimensions.keys()].filter((d) => budget.features[d] !== undefined);
    const [first = 0] = this.#layers;
    const choices = this.#layers.length === 0 ? 0 : space.count(first);
    if (this.#layers.some((d) => space.count(d) !== choices) || choices === Infinity)
      throw new RangeError('layers have lists of as many values');
    this.#own = space.dimensions.map((_, d) => new Float64Array(this.isLayer(d) ? choices : armsOf(space.count(d))));
    const size = OBSERVED + (budget.features[first]?.length ?? 0);
    this.#shared = Array.from({ length: choices }, () => new Float64Array(size));
  }

  isLayer(d: number): boolean {
    return this.#budget.features[d] !== undefined;
  }

  decide(d: number, before: Coordinates): Decision {
    const own = this.#own[d] ?? new Float64Array(0);
    if (!this.isLayer(d)) return { state: [], p: softmax(own) };
    const state = this.#observe(d, before);
    const affordable = this.#budget.affordable(d, before);
    const logits = own.map((logit, a) => (affordable[a] === true ? logit + dot(this.#shared[a], state) : -Infinity));
    return { state, p: softmax(logits) };
  }

  learn(coordinates: Coordinates, advantage: number): void {
    for (const [d, at] of coordinates.entries()) {
      const { state, p } = this.decide(d, coordinates.slice(0, d));
      const own = this.#own[d] ?? new Float64Array(0);
      if (!this.isLayer(d)) {
        step(own, armOf(at, own.length, this.#space.count(d)), advantage, this.#rates);
        continue;
      }
      // Beyond what could be drawn: of a budget that cannot be met.
      if ((p[at] ?? 0) === 0) continue;
      const gradient = gradientOf(p, at, advantage, this.#rates.entropyWeight);
      // Every layer of a trial moves the weights that they share: by as much together as one moves its own.
      const share = this.#rates.learningRate / this.#layers.length;
      for (const [a, slope] of gradient.entries()) {
        own[a] = (own[a] ?? 0) + this.#rates.learningRate * slope;
        const weights = this.#shared[a];
        for (const [i, value] of state.entries()) if (weights) weights[i] = (weights[i] ?? 0) + share * slope * value;
      }
    }
  }

  /** 1, place, what the layer before became, what is left of the budget, features. */
  #observe(d: number, before: Coordinates): number[] {
    const place = this.#layers.indexOf(d);
    const previous = this.#layers[place - 1];
    return [
      1,
      place / Math.max(1, this.#layers.length - 1),
      previous === undefined ? 0 : this.#budget.expense(previous, before[previous] ?? 0),
      this.#budget.slack(d, before),
      ...(this.#budget.features[d] ?? []),
    ];
  }
}

/** Numbers of an observation besides the features. */
const OBSERVED = 4;

function dot(weights: Float64Array | undefined, state: readonly number[]): number {
  return state.reduce((sum, value, i) => sum + value * (weights?.[i] ?? 0), 0);
}
