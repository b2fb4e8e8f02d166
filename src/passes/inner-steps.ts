import {
  DATA_ROLE_ORDER,
  type DataRole,
  type InnerRecipe,
  type InnerSteps,
  type Pass,
  type PassContext,
} from './pass.ts';

/** Where a place within inner steps comes from unless the pass says otherwise. */
export function underSteps(path: readonly PropertyKey[]): readonly PropertyKey[] {
  return ['steps', ...path];
}

/** What a step needs, with what the steps that it runs as trials need. Those that are not valid need nothing: planning refuses them. */
export function needsOf(
  { pass, options }: { pass: Pass; options: unknown },
  passes: readonly Pass[],
): readonly DataRole[] {
  const needed = new Set(pass.needs(options));
  for (const { steps } of pass.inner?.(options) ?? []) {
    for (const { pass: name, ...given } of steps) {
      const inner = passes.find((candidate) => candidate.name === name);
      const parsed = inner?.options.safeParse(given);
      if (inner === undefined || parsed?.success !== true) continue;
      for (const role of inner.needs(parsed.data)) needed.add(role);
    }
  }
  return DATA_ROLE_ORDER.filter((role) => needed.has(role));
}

/** Answers for the passes of the table. Steps whose options are not valid have no layers: planning refused them. */
export function innerStepsOf(passes: readonly Pass[], context: PassContext): InnerSteps {
  const find = ({ pass: name, ...given }: InnerRecipe['steps'][number]) => {
    const pass = passes.find((candidate) => candidate.name === name);
    const options = pass?.options.safeParse(given);
    return pass === undefined || options?.success !== true ? undefined : { pass, options: options.data };
  };
  // The trials that follow are counted from 0.
  const ahead: PassContext = { ...context, progress: (_fraction, message) => context.progress(0, message) };
  return {
    layers: (model, step) => {
      const found = find(step);
      return found?.pass.layers?.(model, found.options);
    },
    suggest: async (model, step, limits) => {
      const found = find(step);
      return found?.pass.suggest?.(model, found.options, ahead, limits);
    },
    costs: async (model, step, values) => {
      const found = find(step);
      return found?.pass.costs?.(model, found.options, values, ahead);
    },
  };
}
