import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, mkdir, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export type ServiceName = 'redis-server' | 'versitygw';

/**
 * For `describe(…, { skip: skipWithout('redis-server') })`: false when the program is there. When it is not, the suite
 * is skipped, loudly; with REQUIRE_SERVICES=1 (as in CI) that is a failure instead.
 */
export function skipWithout(service: ServiceName): string | false {
  const found = spawnSync(service, ['--version'], { stdio: 'ignore' });
  if (found.error === undefined) return false;
  const message = `${service} is not on PATH: tests that need it do NOT run`;
  if (process.env['REQUIRE_SERVICES'] === '1') throw new Error(message);
  console.error(`\n!!! ${message}\n`);
  return message;
}

export interface Redis {
  readonly url: string;
  readonly port: number;
  /** SIGKILL, as a crash. */
  kill(): Promise<void>;
  /** All that it holds is gone. */
  flush(): Promise<void>;
  /** After kill: the same port and, with `appendOnly`, the same data. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startRedis(
  options: { readonly appendOnly?: boolean; readonly policy?: string } = {},
): Promise<Redis> {
  const folder = await mkdtemp(join(tmpdir(), 'tersor-redis-'));
  const port = await freePort();
  const start = async () => {
    const child = launch('redis-server', [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''],
      ...['--appendonly', options.appendOnly === true ? 'yes' : 'no'],
      ...['--maxmemory-policy', options.policy ?? 'noeviction'],
    ]);
    await untilReady('redis-server', child, () => redisAnswers(port));
    return child;
  };
  let child = await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    kill: () => kill(child),
    flush: async () => {
      const answer = await redisAnswer(port, 'FLUSHALL');
      if (!answer.startsWith('+OK')) throw new Error(`Redis answered ${answer}`);
    },
    restart: async () => {
      child = await start();
    },
    stop: async () => {
      await kill(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface S3Server {
  readonly endpoint: string;
  readonly bucket: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  kill(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startS3(): Promise<S3Server> {
  const folder = await mkdtemp(join(tmpdir(), 'tersor-s3-'));
  const bucket = 'tersor-test';
  const credentials = { accessKeyId: 'tersor-test-key', secretAccessKey: 'tersor-test-secret' };
  await mkdir(join(folder, bucket)); // a folder of the root is a bucket
  const port = await freePort();
  const start = async () => {
    // Connections are kept, as those of S3 itself are.
    const child = launch('versitygw', ['--keep-alive', '--quiet', '--port', `127.0.0.1:${port}`, 'posix', folder], {
      ROOT_ACCESS_KEY: credentials.accessKeyId,
      ROOT_SECRET_KEY: credentials.secretAccessKey,
    });
    await untilReady('versitygw', child, () => portAnswers(port));
    return child;
  };
  let child = await start();
  return {
    endpoint: `http://127.0.0.1:${port}`,
    bucket,
    credentials,
    kill: () => kill(child),
    restart: async () => {
      child = await start();
    },
    stop: async () => {
      await kill(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

function launch(program: ServiceName, args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return endWithThisProcess(spawn(program, args, { stdio: 'ignore', env: { ...process.env, ...env } }));
}

/** Kills it when this process ends, however early. */
export function endWithThisProcess(child: ChildProcess): ChildProcess {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

async function untilReady(name: string, child: ChildProcess, ready: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`${name} ended with exit code ${child.exitCode}`);
    if (await ready()) return;
    await delay(25);
  }
  throw new Error(`${name} did not answer within 5 s`);
}

async function redisAnswers(port: number): Promise<boolean> {
  return (await redisAnswer(port, 'PING')).startsWith('+PONG');
}

/** What Redis says to a command; empty: nothing. */
function redisAnswer(port: number, command: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`${command}\r\n`));
    const done = (answer: string) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('data', (data) => done(data.toString()));
    socket.once('error', () => done(''));
    socket.setTimeout(1000, () => done(''));
  });
}

function portAnswers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
