import { pino, type DestinationStream, type Logger } from 'pino';

export type { Logger } from 'pino';

const SECRET_PARAMETER = /key|token|secret|password|signature|credential|auth/i;

/** The path and query of a request, with the value of every parameter that may hold a secret replaced. */
export function redactUrl(url: string): string {
  const mark = url.indexOf('?');
  if (mark < 0) return url.slice(0, 512);
  const query = url
    .slice(mark + 1)
    .split('&')
    .map((pair) => {
      const name = pair.split('=', 1)[0] ?? '';
      return SECRET_PARAMETER.test(name) && pair !== name ? `${name}=[redacted]` : pair;
    });
  return `${url.slice(0, mark)}?${query.join('&')}`.slice(0, 512);
}

/**
 * Structured logs on standard output, one JSON object a line: constant messages, facts as fields. Children carry
 * `jobId` and `tenant`. Secrets never appear: neither in the fields named here nor in URLs (redactUrl).
 */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: {
      paths: [
        'authorization',
        'secret',
        'password',
        'apiKey',
        'req.headers',
        '*.authorization',
        '*.secret',
        '*.password',
      ],
      censor: '[redacted]',
    },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}
