import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import { createJsonSchemaTransform } from 'fastify-type-provider-zod';
import { z } from 'zod';

const jsonSchemaTransform = createJsonSchemaTransform({});

const DESCRIPTION = `Neural-network compression as a service: upload an ONNX model, post a job with a recipe, get back
smaller, faster artifacts and a report that proves what was gained and lost. Errors are RFC 9457 problem documents; each
\`code\` is explained in docs/errors.md.`;

/** OpenAPI 3.1 of all routes, from the same zod schemas that validate. */
export async function registerOpenApi(app: FastifyInstance, secured: boolean): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Tersor',
        version: '1',
        description: DESCRIPTION,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      tags: [
        { name: 'models', description: 'ONNX models, by content' },
        { name: 'datasets', description: 'Data for calibration, training and evaluation' },
        { name: 'jobs', description: 'Runs of a recipe on a model' },
        { name: 'webhooks', description: 'Endpoints that are told of events, and what was delivered' },
        { name: 'catalog', description: 'What there is: passes, presets, architectures' },
        { name: 'service', description: 'Health' },
      ],
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
      ...(secured ? { security: [{ key: [] }] } : {}),
    },
    transform: (route) => {
      const transformed = jsonSchemaTransform(route);
      const content = route.route.config?.requestContent;
      if (content === undefined) return transformed;
      // Streamed bodies have no validator of their own; what they may be is written down beside the route.
      const body = {
        content: Object.fromEntries(
          Object.entries(content).map(([type, schema]) => [type, { schema: z.toJSONSchema(schema, { io: 'input' }) }]),
        ),
      };
      return { ...transformed, schema: { ...transformed.schema, body } };
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    // Nothing is asked of other hosts: the page works in a closed network, under the policy of all our pages.
    uiConfig: { deepLinking: true, validatorUrl: null },
    staticCSP: false,
  });
  app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) => reply.send(app.swagger()));
}
