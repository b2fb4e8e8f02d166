import { z } from 'zod';
import type { Architecture } from '../zoo/architecture.ts';
import { ARCHITECTURES } from '../zoo/architectures.ts';

/** A network of the zoo as it is stored: its name and its options, defaults filled. */
export const ResolvedArchitectureField = z.object({ architecture: z.string() }).loose();
export type ResolvedArchitectureField = z.infer<typeof ResolvedArchitectureField>;

/**
 * `{ "architecture": name, ...options }`: one alternative an architecture, told apart by its name.
 *
 * @throws TypeError when options are not an object schema: then they cannot stand beside `architecture`
 */
function architectureFieldOf(architectures: readonly Architecture[]): z.ZodType<ResolvedArchitectureField> {
  const alternatives = architectures.map(({ name, description, options }): z.ZodObject => {
    if (!(options instanceof z.ZodObject)) throw new TypeError(`options of ${name} must be an object schema`);
    return options.safeExtend({ architecture: z.literal(name) }).describe(description);
  });
  const [first, ...others] = alternatives;
  if (first === undefined) return z.never({ error: 'there are no architectures' });
  const names = architectures.map(({ name }) => name).join(', ');
  return z
    .discriminatedUnion('architecture', [first, ...others], {
      error: (issue) =>
        typeof issue.input === 'object' && issue.input !== null
          ? `there is no such architecture; there are: ${names}`
          : 'must be an architecture: { "architecture": name, ...options }',
    })
    .pipe(ResolvedArchitectureField);
}

/** A fresh network, as a job's `model` or a step's option may ask for it. */
export const ArchitectureField = architectureFieldOf(ARCHITECTURES);
