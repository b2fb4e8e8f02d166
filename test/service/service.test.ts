import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadConfig } from '../../src/config.ts';
import { CompressionError } from '../../src/errors.ts';
import { createLogger } from '../../src/logger.ts';
import { startService } from '../../src/service.ts';

/** Runs src/server.ts until it prints a line that matches, or ends. */
function run(env: Record<string, string>) {
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/server.ts'], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<{ code: number | null; output: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, output }));
  });
  const until = async (pattern: RegExp): Promise<void> => {
    while (!pattern.test(output)) {
      if (child.exitCode !== null) assert.fail(`ended early: ${output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return { child, ended, until };
}

describe('service', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-service-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('starts on the embedded default, answers, and closes; twice is fine', async () => {
    const config = loadConfig({ DATA_DIR: join(folder, 'a'), PORT: '0', LOG_LEVEL: 'silent' });
    const logger = createLogger('silent');
    const service = await startService(config, logger);
    assert.deepEqual(await (await fetch(`${service.url}/readyz`)).json(), {
      status: 'ready',
      checks: { store: 'ok', queue: 'ok' },
    });
    const metrics = await (await fetch(`${service.url}/metrics`)).text();
    for (const name of [
      'tersor_queue_jobs',
      'tersor_http_request_duration_seconds',
      'tersor_job_attempt_seconds',
      'process_cpu',
    ])
      assert.match(metrics, new RegExp(name));
    // With the queue in the process a second one would run the same jobs again.
    await assert.rejects(
      startService(config, logger),
      (error) => error instanceof CompressionError && error.code === 'CONFIG_INVALID',
    );
    await service.close();
    await service.close();
    const again = await startService(config, logger);
    await again.close();
  });

  it('F36 a bad configuration: exit 78, and every problem in the message', async () => {
    const { code, output } = await run({ PORT: 'x', HOST: '0.0.0.0' }).ended;
    assert.equal(code, 78);
    assert.match(output, /PORT: must be a whole number/);
    assert.doesNotMatch(output, /\bat .*:\d+:\d+/);
  });

  it('F36 a DATA_DIR that is a file: exit 78, and the name of the setting', async () => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    const { code, output } = await run({ DATA_DIR: file, PORT: '0' }).ended;
    assert.equal(code, 78);
    assert.match(output, /DATA_DIR .*file cannot be used/);
  });

  it('SIGTERM: stops listening, ends with 0', async () => {
    const { child, ended, until } = run({ DATA_DIR: join(folder, 'b'), PORT: '0' });
    await until(/service listens/);
    child.kill('SIGTERM');
    const { code, output } = await ended;
    assert.equal(code, 0, output);
    assert.match(output, /service stops/);
  });
});
