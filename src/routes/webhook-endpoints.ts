import type { FastifyPluginCallbackZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { AppDeps } from '../app-deps.ts';
import { CompressionError } from '../errors.ts';
import { EndpointId, PageQuery, page } from '../schemas/common.ts';
import {
  ChangeEndpoint,
  CreateEndpoint,
  Delivery,
  DeliveryId,
  WebhookEndpoint,
  WebhookSecret,
} from '../schemas/webhook.ts';
import { findJob, JobParams } from './jobs.ts';
import { noContent, problems } from './responses.ts';

const EndpointParams = z.strictObject({ id: EndpointId });
const DeliveryParams = z.strictObject({ id: EndpointId, deliveryId: DeliveryId });

/** Webhook endpoints with their delivery logs, and the secret and the log of the webhooks that jobs name. */
export function webhookEndpointRoutes(deps: AppDeps): FastifyPluginCallbackZod {
  return (app, _options, done) => {
    void app.register(endpoints(deps));
    void app.register(deliveries(deps));
    void app.register(jobWebhooks(deps));
    done();
  };
}

function endpoints({ webhooks }: AppDeps): FastifyPluginCallbackZod {
  return (app, _options, done) => {
    app.post(
      '/webhook-endpoints',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'Add an endpoint; its signing secret is in this answer only',
          body: CreateEndpoint,
          response: { 201: WebhookEndpoint, ...problems() },
        },
      },
      async (request, reply) => {
        const endpoint = await webhooks.createEndpoint(request.tenant, request.body);
        return reply
          .code(201)
          .header('location', `/v1/webhook-endpoints/${endpoint.id}`)
          .header('cache-control', 'no-store')
          .send(endpoint);
      },
    );

    app.get(
      '/webhook-endpoints',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'List endpoints, newest first',
          querystring: PageQuery,
          response: { 200: page(WebhookEndpoint), ...problems() },
        },
      },
      async (request) => webhooks.listEndpoints(request.tenant, request.query),
    );

    app.get(
      '/webhook-endpoints/:id',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'An endpoint',
          params: EndpointParams,
          response: { 200: WebhookEndpoint, ...problems() },
        },
      },
      async (request) => webhooks.getEndpoint(request.tenant, request.params.id),
    );

    app.patch(
      '/webhook-endpoints/:id',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'Change, disable, enable an endpoint, or give it a new secret',
          params: EndpointParams,
          body: ChangeEndpoint,
          response: { 200: WebhookEndpoint, ...problems() },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store');
        return webhooks.changeEndpoint(request.tenant, request.params.id, request.body);
      },
    );

    app.delete(
      '/webhook-endpoints/:id',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'Remove an endpoint; what is not delivered yet is not delivered any more',
          params: EndpointParams,
          response: { 204: noContent, ...problems() },
        },
      },
      async (request, reply) => {
        await webhooks.removeEndpoint(request.tenant, request.params.id);
        return reply.code(204).send(undefined);
      },
    );
    done();
  };
}

function deliveries({ webhooks }: AppDeps): FastifyPluginCallbackZod {
  return (app, _options, done) => {
    app.get(
      '/webhook-endpoints/:id/deliveries',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'The delivery log of 30 days, newest first, with every attempt',
          params: EndpointParams,
          querystring: PageQuery,
          response: { 200: page(Delivery), ...problems() },
        },
      },
      async (request) => webhooks.listDeliveries(request.tenant, request.params.id, request.query),
    );

    app.post(
      '/webhook-endpoints/:id/deliveries/:deliveryId/redeliver',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'Send a message once more, under the same webhook-id',
          params: DeliveryParams,
          response: { 202: Delivery, ...problems(409) },
        },
      },
      async (request, reply) => {
        const { id, deliveryId } = request.params;
        return reply.code(202).send(await webhooks.redeliver(request.tenant, id, deliveryId));
      },
    );

    app.post(
      '/webhook-endpoints/:id/test',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'Send a webhook.test event; its outcome is in the delivery log',
          params: EndpointParams,
          response: { 202: Delivery, ...problems(409) },
        },
      },
      async (request, reply) => reply.code(202).send(await webhooks.test(request.tenant, request.params.id)),
    );
    done();
  };
}

function jobWebhooks(deps: AppDeps): FastifyPluginCallbackZod {
  const { webhooks } = deps;
  return (app, _options, done) => {
    app.get(
      '/jobs/:id/webhook-deliveries',
      {
        schema: {
          tags: ['webhooks'],
          summary: "The delivery log of a job's own webhook",
          params: JobParams,
          querystring: PageQuery,
          response: { 200: page(Delivery), ...problems() },
        },
      },
      async (request) => {
        const { id } = await findJob(deps, request.tenant, request.params.id);
        return webhooks.listJobDeliveries(request.tenant, id, request.query);
      },
    );

    app.get(
      '/webhook-secret',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'The secret that signs the webhooks of jobs; not for read-only keys',
          response: { 200: WebhookSecret, ...problems() },
        },
      },
      async (request, reply) => {
        if (request.scope === 'read')
          throw new CompressionError('FORBIDDEN', 'This key may only read; the secret is for keys with scope write');
        reply.header('cache-control', 'no-store');
        return webhooks.secret(request.tenant);
      },
    );

    app.post(
      '/webhook-secret/rotate',
      {
        schema: {
          tags: ['webhooks'],
          summary: 'A new secret for the webhooks of jobs; the old one signs as well for 24 hours',
          response: { 200: WebhookSecret, ...problems() },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store');
        return webhooks.rotateSecret(request.tenant);
      },
    );
    done();
  };
}
