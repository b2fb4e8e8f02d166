import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loadConfig, redactedConfig } from '../../src/config.ts';
import { CompressionError } from '../../src/errors.ts';
import { createLogger, redactUrl } from '../../src/logger.ts';
import { keyHash } from '../helpers/http-app.ts';

const problems = (env: Record<string, string>): string => {
  try {
    loadConfig(env);
  } catch (error) {
    assert.ok(error instanceof CompressionError && error.code === 'CONFIG_INVALID');
    return error.message;
  }
  return assert.fail('was taken');
};

describe('loadConfig', () => {
  it('has the defaults of the contract', () => {
    const config = loadConfig({});
    assert.equal(config.host, '127.0.0.1');
    assert.equal(config.port, 8080);
    assert.equal(config.dataDir, './data');
    assert.equal(config.role, 'all');
    assert.equal(config.workerConcurrency, 1);
    assert.equal(config.s3, undefined);
    assert.equal(config.redisUrl, undefined);
    assert.equal(config.webhookAllowHttp, false);
    assert.equal(config.logLevel, 'info');
    assert.ok(config.jobThreads >= 1);
  });

  it('lists all problems at once', () => {
    const message = problems({ PORT: 'x', WORKER_CONCURRENCY: '0', LOG_LEVEL: 'loud', S3_BUCKET: 'no' });
    for (const name of ['PORT', 'WORKER_CONCURRENCY', 'LOG_LEVEL', 'S3_BUCKET'])
      assert.match(message, new RegExp(`^  ${name}: `, 'm'));
  });

  for (const value of ['80.5', '8e3', ' 80', '-1', '65536', '0x50'])
    it(`does not take PORT=${value}`, () => assert.match(problems({ PORT: value }), /PORT/));

  it('takes an empty variable as not set', () => {
    assert.equal(loadConfig({ PORT: '', REDIS_URL: '' }).port, 8080);
  });

  it('refuses a host others can reach while there are no keys', () => {
    assert.match(problems({ HOST: '0.0.0.0' }), /API_KEYS/);
    assert.equal(loadConfig({ HOST: '0.0.0.0', API_KEYS: `a:${keyHash('k')}` }).host, '0.0.0.0');
    assert.equal(loadConfig({ HOST: '::1' }).host, '::1');
  });

  it('refuses two roles in two processes without a queue between them', () => {
    assert.match(problems({ ROLE: 'worker' }), /REDIS_URL/);
    assert.equal(loadConfig({ ROLE: 'worker', REDIS_URL: 'redis://localhost:6379' }).role, 'worker');
  });

  it('reads keys from the variable or a file, with scopes and comments', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'tersor-keys-')), 'keys');
    writeFileSync(path, `# ours\nacme:${keyHash('a')}\n\nother:${keyHash('b').toUpperCase()}:read # may look\n`);
    assert.deepEqual(loadConfig({ API_KEYS: `file:${path}` }).apiKeys, [
      { tenant: 'acme', sha256: keyHash('a'), scope: 'write' },
      { tenant: 'other', sha256: keyHash('b'), scope: 'read' },
    ]);
  });

  it('says what is wrong with a key without repeating it', () => {
    const message = problems({ API_KEYS: 'acme:my-secret-key' });
    assert.match(message, /entry 1/);
    assert.ok(!message.includes('my-secret-key'));
    assert.match(problems({ API_KEYS: 'file:/nonexistent' }), /cannot read/);
    assert.match(problems({ API_KEYS: `Acme:${keyHash('a')}` }), /tenant/);
    assert.match(problems({ API_KEYS: `acme:${keyHash('a')}:admin` }), /scope/);
    assert.match(problems({ API_KEYS: `acme:${keyHash('a')}:2026-13-01` }), /calendar/);
  });

  it('prints itself without secrets', () => {
    const config = loadConfig({ API_KEYS: `acme:${keyHash('a')}`, REDIS_URL: 'redis://user:hunter2@localhost:6379' });
    const text = JSON.stringify(redactedConfig(config));
    assert.ok(!text.includes('hunter2') && !text.includes(keyHash('a')));
    assert.match(text, /acme:\[redacted\]:write/);
  });
});

describe('logs', () => {
  it('hide keys in URLs', () => {
    assert.equal(
      redactUrl('/v1/jobs?key=abc&limit=2&access_token=x'),
      '/v1/jobs?key=[redacted]&limit=2&access_token=[redacted]',
    );
    assert.equal(redactUrl('/v1/jobs'), '/v1/jobs');
    assert.ok(redactUrl(`/${'a'.repeat(10_000)}`).length <= 512);
  });

  it('hide authorization and secrets in fields', () => {
    const lines: string[] = [];
    const logger = createLogger('info', { write: (line: string) => void lines.push(line) });
    logger.info({ authorization: 'Bearer abc', endpoint: { secret: 'whsec_x', url: 'https://a' } }, 'delivered');
    const line = lines.join('');
    assert.ok(!line.includes('abc') && !line.includes('whsec_x'));
    assert.match(line, /"level":"info"/);
    assert.match(line, /https:\/\/a/);
  });
});
