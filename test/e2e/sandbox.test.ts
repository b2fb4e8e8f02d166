import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { putKnownKernelCosts } from '../helpers/known-kernel-costs.ts';
import { probeSandbox, sandboxed } from '../../workers/sandbox.ts';
import { endlessLoop } from './hostile-models.ts';
import { jobChildren } from './live-service.ts';

const sandbox = probeSandbox();
const whole = sandbox.network && sandbox.files && sandbox.parentDeath && sandbox.limits;
const skip = whole ? false : `this machine lacks layers of the sandbox: ${JSON.stringify(sandbox)}`;
if (!whole) console.error(`\n!!! ${String(skip)}\n`);

/** What a program in the place of a job child can do. It prints JSON. */
const INTRUDER = `
  const fs = require('fs'), net = require('net');
  const tell = (act) => { try { return act(); } catch (error) { return error.code ?? error.name; } };
  const [store, sibling] = fs.readFileSync(0, 'utf8').split(' ');
  const out = {
    env: Object.keys(process.env).sort(), cwd: tell(() => fs.readdirSync('.')), own: process.cwd(),
    store: tell(() => fs.readdirSync(store)), sibling: tell(() => fs.readFileSync(sibling, 'utf8')),
    parent: tell(() => fs.readFileSync('/proc/' + process.ppid + '/environ', 'utf8')),
    file: tell(() => fs.writeFileSync('large', Buffer.alloc(2 ** 21))),
    memory: tell(() => Buffer.alloc(2 ** 30, 1).length),
    network: Object.keys(require('os').networkInterfaces()),
  };
  const socket = net.connect(53, '192.0.2.1');
  const done = (word) => { console.log(JSON.stringify({ ...out, connect: word })); process.exit(0); };
  socket.on('connect', () => done('connected')).on('error', (error) => done(error.code));
  setTimeout(() => done('silence'), 2000);
`;

describe('the sandbox of a job child', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'tersor-sandbox-'));
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('shows no secret, no network, no store and no other job, and bounds memory and files', () => {
    const [root, store] = [join(folder, 'worker'), join(folder, 'store')];
    const own = join(root, 'child-own');
    const sibling = join(root, 'child-other', 'model.onnx');
    for (const path of [own, join(root, 'child-other'), store]) mkdirSync(path, { recursive: true });
    writeFileSync(sibling, 'of another tenant');
    writeFileSync(join(store, 'models'), 'of all tenants');
    writeFileSync(join(own, 'task'), '');
    const command = [process.execPath, '-e', INTRUDER];
    const { file, args } = sandboxed(sandbox, { memoryBytes: 2 ** 29, fileBytes: 2 ** 20 }, command, [root, store]);
    const seen = spawnSync(file, args, {
      cwd: own,
      env: { HOME: own },
      input: `${store} ${sibling}`,
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.equal(seen.status, 0, seen.stderr);
    const out = JSON.parse(seen.stdout) as Record<string, unknown>;
    assert.deepEqual(out['env'], [
      'HOME',
      ...(out['env'] as string[]).filter((name) => /^(PWD|OLDPWD|SHLVL|_)$/.test(name)),
    ]);
    assert.equal(out['own'], own);
    assert.deepEqual(out['cwd'], ['task']);
    assert.deepEqual(out['store'], []);
    assert.equal(out['sibling'], 'ENOENT');
    assert.equal(out['parent'], 'EACCES');
    assert.equal(out['file'], 'EFBIG');
    assert.match(String(out['memory']), /RangeError|ERR_MEMORY_ALLOCATION_FAILED/);
    assert.equal(out['connect'], 'ENETUNREACH');
    assert.ok(existsSync(sibling), 'the mounts were not its own');
  });

  describe('around a real job', () => {
    const data = join(folder, 'data');
    let url = '';
    const servers = new Set<ChildProcess>();
    before(async () => {
      const store = new FileSystemStore(data);
      await putKnownKernelCosts(store);
      await store.close();
    });
    after(() => {
      for (const server of servers) server.kill('SIGKILL'); // of a test that failed: it would hold the folder
    });

    async function serve() {
      const server = spawn(process.execPath, ['--import', 'tsx', 'src/server.ts'], {
        env: {
          PATH: process.env['PATH'] ?? '',
          DATA_DIR: data,
          PORT: '0',
          JOB_THREADS: '1',
          AWS_SECRET_ACCESS_KEY: 'hush',
        },
      });
      servers.add(server);
      server.once('exit', () => servers.delete(server));
      let output = '';
      server.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      server.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
      const ended = new Promise((resolve) => server.once('exit', resolve));
      for (let tries = 0; !output.includes('service listens'); tries += 1) {
        assert.ok(tries < 1200 && server.exitCode === null, output);
        await delay(50);
      }
      url = /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0] ?? '';
      return { server, ended };
    }
    const post = async (path: string, type: string, body: string | Buffer<ArrayBuffer>) => {
      const response = await fetch(url + path, { method: 'POST', headers: { 'content-type': type }, body });
      return ((await response.json()) as { id: string }).id;
    };
    const jobOf = async (id: string) =>
      (await (await fetch(`${url}/v1/jobs/${id}`)).json()) as {
        status: string;
        attempt: number;
        step: number | null;
        error: unknown;
      };
    const submit = (model: string) =>
      post('/v1/jobs', 'application/json', JSON.stringify({ model, recipe: 'int8-dynamic', deadlineSeconds: 100 }));
    const artifact = async (id: string) =>
      Buffer.from(await (await fetch(`${url}/v1/jobs/${id}/artifacts/model.onnx`)).arrayBuffer());
    async function until(id: string, done: (job: Awaited<ReturnType<typeof jobOf>>) => boolean) {
      for (let tries = 0; tries < 2000; tries += 1) {
        const job = await jobOf(id);
        if (done(job)) return job;
        await delay(30);
      }
      return assert.fail(`job ${id} does not get there: ${JSON.stringify(await jobOf(id))}`);
    }

    /** Resolves when the job's first step is over, and the second at work. The record says so only every 5 s. */
    async function firstStep(id: string): Promise<void> {
      const stop = new AbortController();
      const { body } = await fetch(`${url}/v1/jobs/${id}/events`, { signal: stop.signal });
      let text = '';
      for await (const chunk of (body ?? assert.fail('no events')).pipeThrough(new TextDecoderStream())) {
        text += chunk;
        if (text.includes('event: job.step')) break;
      }
      stop.abort();
      assert.match(text, /event: job\.step/);
    }

    it('F4 SIGTERM hands a job back, no crash counted; the next process resumes it to the same bytes', async () => {
      const first = await serve();
      const bytes = readFileSync('examples/fashion-mnist/fashion-resnet8.onnx');
      const model = await post('/v1/models', 'application/octet-stream', bytes);
      const undisturbed = await submit(model);
      await until(undisturbed, ({ status }) => status === 'succeeded');
      const id = await submit(model);
      await firstStep(id);
      const asked = performance.now();
      first.server.kill('SIGTERM');
      assert.equal(await first.ended, 0);
      assert.ok(performance.now() - asked < 25_000);
      const second = await serve();
      const job = await until(id, ({ status }) => status === 'succeeded' || status === 'failed');
      assert.equal(job.status, 'succeeded', JSON.stringify(job.error));
      assert.equal(job.attempt, 2);
      assert.deepEqual(await artifact(id), await artifact(undisturbed));
      second.server.kill('SIGKILL');
      await second.ended;
    });

    it('F5 kill -9 of the parent ends the child within 2 s, even in native code; its environment has no secret', async () => {
      const { server, ended } = await serve();
      const model = await post('/v1/models', 'application/octet-stream', Buffer.from(endlessLoop()));
      const id = await submit(model);
      await until(id, ({ status }) => status === 'running');
      await delay(1500); // into the loop
      const children = jobChildren(server.pid);
      assert.ok(children.length > 0);
      for (const pid of children) {
        assert.doesNotMatch(readFileSync(`/proc/${pid}/environ`, 'latin1'), /hush|PATH=/);
        assert.match(readlinkSync(`/proc/${pid}/cwd`), /child-/);
      }
      server.kill('SIGKILL');
      await ended;
      await delay(2000);
      assert.deepEqual(
        children.filter((pid) => existsSync(`/proc/${pid}`)),
        [],
      );
    });

    it('a worker sweeps the folders of those that were killed', async () => {
      const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith('tersor-worker-'));
      const killed = await serve();
      const left = `-${killed.server.pid ?? 0}-`;
      killed.server.kill('SIGKILL');
      await killed.ended;
      assert.equal(folders().filter((name) => name.includes(left)).length, 1);
      const next = await serve();
      assert.deepEqual(
        folders().filter((name) => name.includes(left)),
        [],
      );
      next.server.kill('SIGTERM');
      assert.equal(await next.ended, 0);
      assert.deepEqual(
        folders().filter((name) => name.includes(`-${next.server.pid ?? 0}-`)),
        [],
      );
    });
  });
});
