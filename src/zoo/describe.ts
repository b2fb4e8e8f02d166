import { z } from 'zod';
import type { ArchitectureResource } from '../schemas/catalog.ts';
import type { Architecture } from './architecture.ts';
import { ARCHITECTURES } from './architectures.ts';
import { countNetwork, type NetworkCounts } from './counts.ts';

/** What /v1/architectures says of each: made when first asked for, because counting takes a few milliseconds each. */
export function describeArchitectures(): ArchitectureResource[] {
  return ARCHITECTURES.map(describeArchitecture);
}

function describeArchitecture(architecture: Architecture): ArchitectureResource {
  const { name, description, options, example, papers, references } = architecture;
  return {
    name,
    description,
    options: z.toJSONSchema(options, { io: 'input', unrepresentable: 'any' }),
    example: { architecture: name, ...Object(example) } as Record<string, unknown>,
    counts: { defaults: countsOf(architecture, {}), example: countsOf(architecture, example) },
    references: references.map((reference) => ({ name: reference.name, options: { ...reference.options } })),
    papers: papers.map(({ title, url }) => ({ title, url })),
  };
}

function countsOf(architecture: Architecture, options: unknown): NetworkCounts {
  return countNetwork(architecture.build(options, { seed: 0, weights: 'zero' }));
}
