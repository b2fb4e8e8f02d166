import type { FastifyPluginCallbackZod } from 'fastify-type-provider-zod';

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tersor</title>
<link rel="icon" href="data:,">
<style>
body { font: 16px/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
h1 { font-size: 1.8rem; margin-bottom: 0 }
pre { background: #f4f4f5; padding: 1rem; overflow-x: auto; border-radius: 6px; font-size: 14px }
code { font-family: ui-monospace, monospace }
a { color: #0550ae }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #16181d } pre { background: #22252c } a { color: #79b8ff } }
</style>
</head>
<body>
<main>
<h1>Tersor</h1>
<p>Neural-network compression as a service: upload an ONNX model, post a job with a recipe, and get back a smaller,
faster model with a report that proves what was gained and lost.</p>
<h2>Try it</h2>
<pre><code># 1. upload a model
curl --data-binary @model.onnx -H 'content-type: application/octet-stream' http://127.0.0.1:8080/v1/models

# 2. run a recipe on it (the id comes from step 1)
curl -H 'content-type: application/json' -d '{"model":"mdl_…","recipe":"int8-dynamic"}' http://127.0.0.1:8080/v1/jobs

# 3. follow it, then fetch what it made
curl -N http://127.0.0.1:8080/v1/jobs/job_…/events
curl http://127.0.0.1:8080/v1/jobs/job_…/artifacts</code></pre>
<h2>More</h2>
<ul>
<li><a href="/docs">The API, to read and to try</a> (<a href="/openapi.json">OpenAPI 3.1</a>)</li>
<li><a href="/v1/passes">Passes</a> and <a href="/v1/presets">presets</a> a recipe can use (with API keys, ask with yours)</li>
<li><a href="/readyz">Is it ready?</a> · <a href="/metrics">Metrics</a></li>
</ul>
</main>
</body>
</html>
`;

/** `/`: what this is, and where to go on. Static; the security headers' policy applies to it. */
export const landingRoutes: FastifyPluginCallbackZod = (app, _options, done) => {
  app.get('/', { schema: { hide: true } }, (_request, reply) => reply.type('text/html; charset=utf-8').send(PAGE));
  done();
};
