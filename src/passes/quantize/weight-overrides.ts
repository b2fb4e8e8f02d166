import { CompressionError } from '../../errors.ts';
import type { Node } from '../../onnx/node.ts';
import type { PassContext } from '../pass.ts';
import type { GraphView } from './graph-view.ts';
import { matchesGlob, nodeLabel } from './node-filter.ts';
import type { StaticOptions, WeightOverride } from './static-options.ts';
import { targetRules } from './target.ts';
import type { ComputeUnit } from './units.ts';

/** What the recipe says about the weight of a node alone: the first glob counts that matches the node's name or type, or the initializer. */
export function weightOverrideOf(
  { weightOverrides }: Pick<StaticOptions, 'weightOverrides'>,
  node: Node,
): WeightOverride | undefined {
  return Object.entries(weightOverrides).find(([glob]) => matches(glob, node))?.[1];
}

/** Whether a weight has one scale an output channel. */
export function isPerChannel(options: Pick<StaticOptions, 'weightOverrides' | 'perChannel'>, node: Node): boolean {
  const override = weightOverrideOf(options, node);
  // A range is one for the whole tensor.
  return override?.min === undefined ? (override?.perChannel ?? options.perChannel) : false;
}

/** @throws CompressionError RECIPE_NO_MATCH, RECIPE_INVALID */
export function checkWeightOverrides(
  options: StaticOptions,
  units: Iterable<ComputeUnit>,
  { view, context }: { readonly view: GraphView; readonly context: Pick<PassContext, 'targetCpu' | 'cpuFlags'> },
): void {
  const layers = [...units].filter(({ weight }) => weight !== undefined).map(({ node }) => node);
  for (const glob of Object.keys(options.weightOverrides)) {
    if (!layers.some((node) => matches(glob, node))) throw noMatch(glob, layers, view);
  }
  const ofWeight = new Map<string, { readonly node: Node; readonly override: string }>();
  for (const node of layers) {
    const override = weightOverrideOf(options, node);
    checkSign(override, node, options, context);
    const [name, text] = [node.inputs[1] ?? '', JSON.stringify(override ?? {})];
    const other = ofWeight.get(name);
    if (other !== undefined && other.override !== text) {
      throw new CompressionError(
        'RECIPE_INVALID',
        `weightOverrides gives "${nodeLabel(other.node)}" ${other.override} and "${nodeLabel(node)}" ${text}, which share the weight ` +
          `"${name}"; give them the same, by the name of the weight`,
      );
    }
    ofWeight.set(name, { node, override: text });
  }
}

/** Codes that are not centred have no limit that keeps sums of two products inside int16. */
function checkSign(
  override: WeightOverride | undefined,
  node: Node,
  options: StaticOptions,
  context: Pick<PassContext, 'targetCpu' | 'cpuFlags'>,
): void {
  if (override?.symmetric !== false || (override.type ?? options.weights) !== 'int8') return;
  if (targetRules(context).weightRange === 'full') return;
  throw new CompressionError(
    'RECIPE_INVALID',
    `weightOverrides makes the int8 weight of "${nodeLabel(node)}" asymmetric, which could saturate int16 on x64 without VNNI ` +
      `(target ${context.targetCpu}); give it type uint8, or leave it symmetric`,
  );
}

function matches(glob: string, node: Node): boolean {
  return (
    matchesGlob(glob, nodeLabel(node)) || matchesGlob(glob, node.opType) || matchesGlob(glob, node.inputs[1] ?? '')
  );
}

function noMatch(glob: string, layers: readonly Node[], view: GraphView): CompressionError {
  const known = layers.map((node) => `${nodeLabel(node)} (${node.inputs[1] ?? ''})`);
  const more = known.length > SHOWN ? ` and ${known.length - SHOWN} more` : '';
  const names = known.length === 0 ? 'none' : `${known.slice(0, SHOWN).join(', ')}${more}`;
  const stays = view.nodes.some((node) => matches(glob, node)) ? ', only nodes that stay in float or have none' : '';
  return new CompressionError(
    'RECIPE_NO_MATCH',
    `weightOverrides "${glob}" matches no layer with a weight to quantize${stays}; give the name or operator type of a node, or the ` +
      `name of its weight, with * and ? as wildcards. Layers and their weights: ${names}`,
  );
}

/** Names in an error. */
const SHOWN = 20;
