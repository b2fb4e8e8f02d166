import { CompressionError } from '../../../errors.ts';
import type { MacCount } from '../../../onnx/cost/macs.ts';
import { matchesGlob, nodeLabel } from '../node-filter.ts';
import type { LayerChoice, LayerChoices } from '../static-request.ts';
import type { Decision } from '../static-run.ts';
import { computeUnits } from '../static-run.ts';
import type { ComputeUnit } from '../units.ts';
import { weightKey } from '../weight-plan.ts';

/** One choice to be made: nodes that share a weight share its type. */
export interface MixedLayer {
  /** Name of the first node that reads the weight. */
  readonly label: string;
  readonly operator: string;
  readonly units: readonly ComputeUnit[];
  /** First outputs of the nodes, which name them in every copy of the model. */
  readonly outputs: readonly string[];
  /** Of the weight. */
  readonly elements: number;
  /** Multiply-accumulates of all its nodes; 0 where shapes do not tell. */
  readonly macs: number;
  /** One where the recipe says what the layer is to be. */
  readonly candidates: readonly LayerChoice[];
  readonly isGiven: boolean;
}

/** A candidate in words, which also tells it from others. */
export function choiceLabel(choice: LayerChoice): string {
  return choice === 'float' ? 'float' : `${choice.weights}/${choice.activations}`;
}

/**
 * The layers with weights that a decision quantizes, in graph order.
 *
 * @param given - candidates by glob of node names or operator types; the first match counts
 * @throws CompressionError RECIPE_NO_MATCH for a glob that matches no layer, RECIPE_INVALID where nodes that share a weight are given two types
 */
export function mixedLayers(
  { plan }: Decision,
  candidates: readonly LayerChoice[],
  given: Readonly<Record<string, LayerChoice>>,
  macs: MacCount,
): readonly MixedLayer[] {
  const macsOf = new Map(macs.nodes.map((node) => [node.node.outputs[0] ?? '', node.macs]));
  const byWeight = new Map<string, ComputeUnit[]>();
  for (const unit of computeUnits(plan)) {
    if (unit.weight === undefined) continue;
    const key = weightKey(unit.weight);
    byWeight.set(key, [...(byWeight.get(key) ?? []), unit]);
  }
  const matches = (glob: string, { node }: ComputeUnit): boolean =>
    matchesGlob(glob, nodeLabel(node)) || matchesGlob(glob, node.opType);
  const all = [...byWeight.values()].flat();
  for (const glob of Object.keys(given)) {
    if (all.some((unit) => matches(glob, unit))) continue;
    const known = all.map(({ node }) => nodeLabel(node)).slice(0, 20);
    throw new CompressionError(
      'RECIPE_NO_MATCH',
      `layers "${glob}" matches no layer with a weight; there are: ${known.join(', ')}`,
    );
  }
  return [...byWeight.values()].map((units): MixedLayer => {
    const fixed = units.flatMap((unit) => Object.entries(given).find(([glob]) => matches(glob, unit))?.[1] ?? []);
    const labels = units.map(({ node }) => nodeLabel(node));
    if (new Set(fixed.map(choiceLabel)).size > 1) {
      throw new CompressionError(
        'RECIPE_INVALID',
        `layers gives ${fixed.map(choiceLabel).join(' and ')} to nodes that share a weight: ${labels.join(', ')}; give them the same`,
      );
    }
    const outputs = units.map(({ node }) => node.outputs[0] ?? '');
    return {
      label: labels[0] ?? '',
      operator: units[0]?.node.opType ?? '',
      units,
      outputs,
      elements: units[0]?.weight?.tensor.elementCount ?? 0,
      macs: outputs.reduce((sum, output) => sum + (macsOf.get(output) ?? 0), 0),
      candidates: fixed[0] === undefined ? candidates : [fixed[0]],
      isGiven: fixed[0] !== undefined,
    };
  });
}

/** @param options - index of the chosen candidate, by layer */
export function choicesOf(layers: readonly MixedLayer[], options: readonly number[]): LayerChoices {
  return new Map(
    layers.flatMap(({ outputs, candidates }, layer) => {
      const choice = candidates[options[layer] ?? 0] ?? 'float';
      return outputs.map((output): [string, LayerChoice] => [output, choice]);
    }),
  );
}
