import type { FastifyPluginCallbackZod } from 'fastify-type-provider-zod';
import { describePasses, describePresets } from '../recipes/catalog.ts';
import { ArchitectureResource, PassResource, PresetResource } from '../schemas/catalog.ts';
import { page } from '../schemas/common.ts';
import { describeArchitectures } from '../zoo/describe.ts';
import { problems } from './responses.ts';

/** What a recipe can be made of. */
export const catalogRoutes: FastifyPluginCallbackZod = (app, _options, done) => {
  const passes = describePasses();
  const presets = describePresets();
  let architectures: ArchitectureResource[] | undefined;

  app.get(
    '/passes',
    {
      schema: {
        tags: ['catalog'],
        summary: 'Every pass, with its options as JSON Schema',
        response: { 200: page(PassResource), ...problems() },
      },
    },
    () => ({ items: passes, nextCursor: null }),
  );

  app.get(
    '/presets',
    {
      schema: {
        tags: ['catalog'],
        summary: 'Recipes with a name',
        response: { 200: page(PresetResource), ...problems() },
      },
    },
    () => ({ items: presets, nextCursor: null }),
  );

  app.get(
    '/architectures',
    {
      schema: {
        tags: ['catalog'],
        summary: 'Networks a job can start from',
        response: { 200: page(ArchitectureResource), ...problems() },
      },
    },
    () => ({ items: (architectures ??= describeArchitectures()), nextCursor: null }),
  );
  done();
};
