import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TersorClient } from '../../src/client/client.ts';
import type { Job } from '../../src/schemas/job.ts';

/** Of the tree this file lies in: the built one, or the sources where a loader runs them. */
const SERVER = fileURLToPath(new URL(`../../src/server${extname(import.meta.url)}`, import.meta.url));
const START_TIMEOUT_MS = 30_000;

/** The service on its embedded default, as `npm start` runs it, on a folder of its own. */
export class EmbeddedService {
  readonly client: TersorClient;
  readonly #process: ChildProcess;

  /** Empties the folder first. The service's log goes to `service.log` in it, so that the screen stays readable. */
  static async start(folder: string, env: Readonly<Record<string, string>> = {}): Promise<EmbeddedService> {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    const child = spawn(process.execPath, [...process.execArgv, SERVER], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        ...process.env,
        PORT: '0',
        HOST: '127.0.0.1',
        DATA_DIR: join(folder, 'data'),
        ROLE: 'all',
        LOG_LEVEL: 'info',
        ...env,
      },
    });
    const baseUrl = await listening(child, join(folder, 'service.log'));
    console.log(`service    ${baseUrl}, data in ${join(folder, 'data')}`);
    return new EmbeddedService(child, baseUrl);
  }

  private constructor(child: ChildProcess, baseUrl: string) {
    this.#process = child;
    this.client = new TersorClient({ baseUrl });
  }

  /** Shows the job's progress until it is over. */
  async follow(id: string): Promise<Job> {
    for await (const event of this.client.events(id)) {
      const { progress, message } = event.data as { progress?: number; message?: string };
      progressLine(event.type, progress, message);
    }
    if (process.stdout.isTTY) process.stdout.write('\n');
    const job = await this.client.getJob(id);
    if (job.status !== 'succeeded')
      console.error(`The job ended as ${job.status}: ${job.error?.code ?? ''} ${job.error?.message ?? ''}`);
    return job;
  }

  async stop(): Promise<void> {
    const gone = new Promise((done) => this.#process.once('exit', done));
    this.#process.kill('SIGTERM');
    await gone;
  }
}

/** The address the service logs once it listens. */
function listening(service: ChildProcess, logPath: string): Promise<string> {
  return new Promise((found, failed) => {
    const log: string[] = [];
    const timer = setTimeout(() => failed(new Error('the service did not start within 30 s')), START_TIMEOUT_MS);
    service.once('exit', (code) =>
      failed(new Error(`the service ended with exit code ${code ?? 'none'}\n${log.join('\n')}`)),
    );
    if (service.stdout === null) throw new Error('the service has no output');
    createInterface({ input: service.stdout }).on('line', (line) => {
      log.push(line);
      void writeFile(logPath, `${log.join('\n')}\n`);
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
      if (address === undefined) return;
      clearTimeout(timer);
      found(address);
    });
  });
}

/** One line that fills up on a terminal; elsewhere a line for each event. */
function progressLine(type: string, progress = 0, message = ''): void {
  if (process.stdout.isTTY) {
    const width = 30;
    const done = Math.round((type === 'job.succeeded' ? 1 : progress) * width);
    if (type === 'job.progress' || type === 'job.succeeded') {
      process.stdout.write(`\r\x1b[Kprogress   [${'#'.repeat(done)}${'.'.repeat(width - done)}] ${message}`);
    }
  } else console.log(`event      ${type}${message === '' ? '' : `  ${(progress * 100).toFixed(0)} %  ${message}`}`);
}
