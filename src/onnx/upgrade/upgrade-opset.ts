import { allNames, type Graph } from '../graph.ts';
import { inferTypes } from '../inference/infer-types.ts';
import type { TypeTable } from '../inference/type-table.ts';
import { opsetOf, type Model } from '../model.ts';
import { HIGHEST_OPSET, LOWEST_OPSET } from './adapters.ts';
import { dropUnreadConstants, functionBodies, graphBodies, planBody, type Body, type UpgradeSkip } from './body.ts';
import { irVersionForOpset, raiseIrVersion } from './ir-version.ts';

export interface OpsetUpgrade {
  /** Opset of the default domain before and after; 0 when the model does not import it. */
  readonly from: number;
  readonly to: number;
  /** Nodes that were written anew. The opset number and the IR version may have changed with no node changed. */
  readonly changed: number;
  /** What holds the model at `to` when that is below the target. */
  readonly skipped: readonly UpgradeSkip[];
}

/** The opset canonical models have: 4-bit and blocked quantization, and a kernel for each operator in ONNX Runtime. */
export const DEFAULT_OPSET = 21;

/**
 * Raises the opset of the default domain, in place, one opset at a time, subgraphs and function bodies with it. A step is
 * taken only when every node has an exact equivalent; otherwise the model stays at the last opset that all of it reached
 * and `skipped` says which nodes hold it. Opsets below 7 and above the target are left alone. The IR version rises as the
 * opset demands.
 *
 * @param target - 7..26
 * @throws RangeError for a target outside that range
 */
export function upgradeOpset(model: Model, target: number = DEFAULT_OPSET): OpsetUpgrade {
  if (!Number.isInteger(target) || target < LOWEST_OPSET || target > HIGHEST_OPSET) {
    throw new RangeError(`target opset is ${target}, expected ${LOWEST_OPSET}..${HIGHEST_OPSET}`);
  }
  const from = opsetOf(model);
  if (from === 0 || from >= target) return { from, to: from, changed: 0, skipped: [] };
  if (from < LOWEST_OPSET) {
    const reason = `opset ${from} is below ${LOWEST_OPSET}, where operators broadcast by attributes; export the model again`;
    return { from, to: from, changed: 0, skipped: [{ node: 'model', reason }] };
  }

  let types: TypeTable | undefined;
  const { initializers, inputs } = model.graph;
  const around = {
    taken: takenNames(model),
    // Values keep their names and types from step to step, so the types of the original hold throughout.
    types: () => (types ??= inferTypes(model)),
    overridable: new Set(
      model.irVersion < 4 ? [] : inputs.map((input) => input.name).filter((name) => initializers.has(name)),
    ),
    made: new Map<string, Graph>(),
  };
  const groups = [model, ...model.functions].map((owner) => ({
    imports: owner.opsetImports,
    bodies: (): Body[] => ('graph' in owner ? graphBodies(owner) : functionBodies(owner)),
  }));
  const lowest = Math.min(
    ...groups.map(({ imports }) => imports.get('') ?? target).filter((opset) => opset >= LOWEST_OPSET),
  );
  const skipped: UpgradeSkip[] = [];
  let changed = 0;
  for (let version = lowest + 1; version <= target; version += 1) {
    const due = groups.filter(({ imports }) => imports.get('') === version - 1);
    const plans = due.flatMap(({ bodies }) => bodies().map((body) => planBody(body, version, around, skipped)));
    if (isHeld(skipped)) break;
    for (const plan of plans) {
      plan.apply();
      changed += plan.changed;
    }
    for (const { imports } of due) imports.set('', version);
  }
  dropUnreadConstants(around.made);
  const to = opsetOf(model);
  if (to > from) raiseIrVersion(model, irVersionForOpset(to));
  return { from, to, changed, skipped };
}

/** Plans fill the list, which the type checker cannot see. */
function isHeld(skipped: readonly UpgradeSkip[]): boolean {
  return skipped.length > 0;
}

function takenNames(model: Model): Set<string> {
  const taken = allNames(model.graph);
  for (const body of model.functions) {
    for (const name of [...body.inputs, ...body.outputs]) taken.add(name);
    for (const node of body.nodes) {
      for (const name of [...node.inputs, ...node.outputs]) taken.add(name);
    }
  }
  return taken;
}
