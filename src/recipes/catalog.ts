import { z } from 'zod';
import type { Pass } from '../passes/pass.ts';
import { PASSES } from '../passes/registry.ts';
import type { PassResource, PresetResource } from '../schemas/catalog.ts';
import { PRESETS } from './presets.ts';
import { resolveRecipe } from './resolve.ts';

function describePass(pass: Pass): PassResource {
  return {
    name: pass.name,
    stage: pass.stage,
    description: pass.description,
    needs: [...pass.needs(pass.options.parse(pass.example))],
    options: z.toJSONSchema(pass.options, { io: 'input', unrepresentable: 'any' }),
    example: { pass: pass.name, ...Object(pass.example) } as Record<string, unknown>,
    papers: pass.papers.map(({ title, url }) => ({ title, url })),
  };
}

export function describePasses(): PassResource[] {
  return PASSES.map(describePass);
}

export function describePresets(): PresetResource[] {
  return PRESETS.map((preset) => {
    const { recipe, steps } = resolveRecipe(preset.name);
    const papers = new Map(steps.flatMap(({ pass }) => pass.papers.map((paper) => [paper.url, paper] as const)));
    return {
      name: preset.name,
      description: preset.description,
      needs: [...new Set(steps.flatMap(({ needs }) => needs))],
      options: {},
      example: { ...recipe },
      papers: Array.from(papers.values(), ({ title, url }) => ({ title, url })),
    };
  });
}
