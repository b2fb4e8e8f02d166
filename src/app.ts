import { randomUUID } from 'node:crypto';
import helmet from '@fastify/helmet';
import { fastify, LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { serializerCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { AppDeps } from './app-deps.ts';
import { redactUrl } from './logger.ts';
import { registerAuth } from './plugins/auth.ts';
import { registerConnections } from './plugins/connections.ts';
import { answerBrokenRequest, registerErrors } from './plugins/errors.ts';
import { registerHttpMetrics } from './plugins/metrics.ts';
import { registerOpenApi } from './plugins/openapi.ts';
import { sendProblem, toCompressionError } from './plugins/problem.ts';
import { registerRateLimit } from './plugins/rate-limit.ts';
import { JSON_MAX_BYTES, registerRequestGuards } from './plugins/request-guards.ts';
import { validatorCompiler } from './plugins/validation.ts';
import { artifactRoutes } from './routes/artifacts.ts';
import { catalogRoutes } from './routes/catalog.ts';
import { datasetRoutes } from './routes/datasets.ts';
import { eventRoutes } from './routes/events.ts';
import { healthRoutes } from './routes/health.ts';
import { jobRoutes } from './routes/jobs.ts';
import { landingRoutes } from './routes/landing.ts';
import { modelRoutes } from './routes/models.ts';
import { webhookEndpointRoutes } from './routes/webhook-endpoints.ts';

/** An upload may take this long as a whole; headers, JSON bodies and idle uploads have shorter limits of their own. */
const REQUEST_TIMEOUT_MS = 2 * 3600 * 1000;
const HEADERS_TIMEOUT_MS = 15_000;
/** Longer than the heartbeat of an event stream and the longest reading of an upload. */
const IDLE_TIMEOUT_MS = 120_000;

export type App = FastifyInstance;

/** The whole HTTP side, ready to `listen` or `inject`. Nothing here loads ONNX Runtime. */
export async function buildApp(deps: AppDeps): Promise<App> {
  const { config } = deps;
  const app = await serverWith(deps);
  registerAuth(app, config);
  // Limits keep tenants from each other's share; without keys there is one tenant, on this machine.
  if (config.apiKeys.length > 0) registerRateLimit(app, config);
  registerRequestGuards(app);
  refuseUnknownQueries(app);
  await registerOpenApi(app, config.apiKeys.length > 0);

  const routes = app.withTypeProvider<ZodTypeProvider>();
  await routes.register(healthRoutes(deps));
  await routes.register(landingRoutes);
  await routes.register(modelRoutes(deps), { prefix: '/v1' });
  await routes.register(datasetRoutes(deps), { prefix: '/v1' });
  await routes.register(jobRoutes(deps), { prefix: '/v1' });
  await routes.register(eventRoutes(deps), { prefix: '/v1' });
  await routes.register(artifactRoutes(deps), { prefix: '/v1' });
  await routes.register(catalogRoutes, { prefix: '/v1' });
  await routes.register(webhookEndpointRoutes(deps), { prefix: '/v1' });
  return app;
}

/** What a worker process serves: health and metrics, no data of any tenant. */
export async function buildOperationsApp(deps: ServerDeps & Pick<AppDeps, 'store' | 'queue'>): Promise<App> {
  const app = await serverWith(deps);
  registerRequestGuards(app);
  await app.register(healthRoutes(deps));
  return app;
}

type ServerDeps = Pick<AppDeps, 'config' | 'logger' | 'metrics'>;

/** A server with our limits, errors, log, security headers and metrics, and no routes but /metrics. */
async function serverWith({ config, logger, metrics }: ServerDeps): Promise<App> {
  const baseLogger: FastifyBaseLogger = logger;
  const app = fastify({
    loggerInstance: baseLogger,
    // One line a request, written by registerRequestLog when the answer is out.
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    bodyLimit: JSON_MAX_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: IDLE_TIMEOUT_MS,
    keepAliveTimeout: 15_000,
    forceCloseConnections: 'idle',
    exposeHeadRoutes: true,
    routerOptions: { maxParamLength: 200, ignoreTrailingSlash: false },
    // Node looks for late headers every 30 s unless told otherwise, which would triple the limit.
    http: { maxHeaderSize: 16 * 1024, headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: 2000 },
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, _request, reply) => void sendProblem(reply, toCompressionError(error)),
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  registerConnections(app, config.maxConnections);
  registerErrors(app);
  registerRequestLog(app);
  await app.register(helmet, {
    // The service speaks plain HTTP; whether there is TLS in front of it is for the proxy to say.
    strictTransportSecurity: false,
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", 'data:'],
        scriptSrc: ["'self'"],
        connectSrc: ["'self'"],
        frameAncestors: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
      },
    },
  });
  registerHttpMetrics(app, metrics);
  return app;
}

/** A route without a query takes none: a misspelt parameter is an error everywhere. */
function refuseUnknownQueries(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    if (route.schema !== undefined && route.schema.hide !== true)
      route.schema = { querystring: z.strictObject({}), ...route.schema };
  });
}

function registerRequestLog(app: FastifyInstance): void {
  app.addHook('onResponse', (request, reply, done) => {
    request.log.info(
      {
        method: request.method,
        url: redactUrl(request.url),
        status: reply.statusCode,
        tenant: request.tenant,
        durationMs: Math.round(reply.elapsedTime * 10) / 10,
      },
      'request answered',
    );
    done();
  });
}
