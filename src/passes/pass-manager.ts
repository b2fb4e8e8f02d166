import { CompressionError } from '../errors.ts';
import { inferTypes } from '../onnx/inference/infer-types.ts';
import type { Model } from '../onnx/model.ts';
import type { ValueInfo } from '../onnx/value-type.ts';
import { verifyModel } from '../onnx/verify/verify-model.ts';
import type { ResolvedRecipe } from '../schemas/recipe.ts';
import { calibrate } from './calibrate.ts';
import { canonicalize } from './canonicalize/canonicalize.ts';
import { innerStepsOf, needsOf } from './inner-steps.ts';
import { withImplicitSteps, type ScheduledStep, type StepOf } from './implicit-steps.ts';
import type { Pass, PassContext, PassResult } from './pass.ts';
import { PASSES } from './registry.ts';

export interface StepOutcome extends PassResult {
  readonly pass: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/**
 * The steps of a stored recipe as they run: passes looked up, options parsed, implicit steps added.
 *
 * @throws CompressionError RECIPE_INVALID for a pass this version does not have
 */
export function scheduleRecipe(recipe: ResolvedRecipe): readonly ScheduledStep[] {
  const steps = recipe.steps.map(({ pass: name, ...given }): StepOf => {
    const pass = PASSES.find((candidate) => candidate.name === name);
    if (pass === undefined) {
      const known = PASSES.map((candidate) => candidate.name).join(', ');
      throw new CompressionError('RECIPE_INVALID', `no pass "${name}"; there are: ${known}`);
    }
    return { pass, options: pass.options.parse(given) };
  });
  return withImplicitSteps(steps, canonicalize, PASSES);
}

/**
 * Runs one step on the model it is given: requires, observe, run, verify, ensures. The interface (names, element types
 * and ranks of inputs and outputs) must come out as it went in.
 *
 * @throws CompressionError PASS_PRECONDITION, PASS_POSTCONDITION, or what the pass itself throws
 */
export async function runStep(model: Model, step: StepOf, context: PassContext): Promise<StepOutcome> {
  const { pass, options } = step;
  const obstacle = pass.requires(model, options);
  if (obstacle !== undefined) throw new CompressionError('PASS_PRECONDITION', `${pass.name}: ${obstacle}`);
  for (const role of needsOf(step, PASSES)) {
    if (context.data[role] === undefined) {
      throw new CompressionError('PASS_PRECONDITION', `${pass.name} needs ${role} data; give data.${role} in the job`);
    }
  }
  const before = interfaceOf(model);
  const observed = await observe(pass, model, options, context);
  const innerSteps = pass.inner === undefined ? undefined : innerStepsOf(PASSES, observed);
  const result = await pass.run(model, options, innerSteps === undefined ? observed : { ...observed, innerSteps });
  verifyModel(model);
  const broken = pass.ensures(model, options) ?? changedInterface(before, interfaceOf(model));
  if (broken !== undefined) throw new CompressionError('PASS_POSTCONDITION', `${pass.name}: ${broken}`);
  return { pass: pass.name, options: options as Readonly<Record<string, unknown>>, ...result };
}

async function observe(pass: Pass, model: Model, options: unknown, context: PassContext): Promise<PassContext> {
  const points = pass.observe?.(model, options, context) ?? [];
  const feeds = context.data.calibration;
  if (points.length === 0 || feeds === undefined) return context;
  return { ...context, observations: await calibrate(model, points, feeds, context) };
}

function interfaceOf(model: Model): ReadonlyMap<string, string> {
  const initializers = model.graph.initializers;
  const inputs = model.graph.inputs.filter((input) => !initializers.has(input.name));
  const types = inferTypes(model);
  const describe = (info: ValueInfo, index: number, kind: string): [string, string] => {
    const type = info.type ?? types.of(model.graph, info.name);
    const text =
      type?.kind === 'tensor'
        ? `${type.elementType} of rank ${type.shape?.length ?? 'unknown'}`
        : (type?.kind ?? 'unknown');
    return [`${kind} ${index} "${info.name}"`, text];
  };
  return new Map([
    ...inputs.map((info, index) => describe(info, index, 'input')),
    ...model.graph.outputs.map((info, index) => describe(info, index, 'output')),
  ]);
}

function changedInterface(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string | undefined {
  if (before.size !== after.size) return `the graph had ${before.size} inputs and outputs, now it has ${after.size}`;
  for (const [place, type] of before) {
    const now = after.get(place);
    if (now === undefined) return `${place} is gone`;
    if (now !== type && !type.includes('unknown') && !now.includes('unknown'))
      return `${place} was ${type}, now it is ${now}`;
  }
  return undefined;
}
