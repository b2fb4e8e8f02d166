import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { extname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { CompressionError, messageOf } from '../src/errors.ts';
import { ChildMessage, MAX_LINE_BYTES, type ChildTask } from './protocol.ts';
import { limitProcessorSeconds, sandboxed, type ChildLimits, type Sandbox } from './sandbox.ts';

export interface ChildOptions {
  readonly sandbox: Sandbox;
  readonly limits: ChildLimits;
  /** Parent of the private folders. A child sees its own only. */
  readonly root: string;
  /** Further folders that children must not see: the store's, say. */
  readonly hidden: readonly string[];
}

export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Last bytes of stderr, for the error message. */
  readonly stderrTail: string;
  /** The parent ended it because its memory passed the limit (where the kernel could not enforce one). */
  readonly overMemory: boolean;
}

const STDERR_TAIL_BYTES = 8 * 1024;
const MEMORY_POLL_MS = 500;

/**
 * One job child: a process of its own with an empty environment, a private working directory, no credentials and no
 * network. It is used for one task and then gone. Only SIGKILL ends it: handlers do not run while native code does.
 */
export class JobChild {
  readonly directory: string;
  readonly exited: Promise<ChildExit>;
  readonly #process: ChildProcess;
  readonly #options: ChildOptions;
  #stderr = '';
  #overMemory = false;
  #listener: ((message: ChildMessage) => void) | undefined;
  readonly #early: ChildMessage[] = [];

  static async start(options: ChildOptions): Promise<JobChild> {
    await mkdir(options.root, { recursive: true, mode: 0o700 });
    const directory = await mkdtemp(join(options.root, 'child-'));
    return new JobChild(directory, options);
  }

  private constructor(directory: string, options: ChildOptions) {
    this.directory = directory;
    this.#options = options;
    const command = [process.execPath, ...entryArguments(options.limits)];
    const { file, args } = sandboxed(options.sandbox, options.limits, command, [options.root, ...options.hidden]);
    this.#process = spawn(file, args, {
      cwd: directory,
      // TMPDIR keeps whatever the runtime spills inside the private folder.
      env: { TMPDIR: directory, HOME: directory },
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    });
    this.exited = this.#watch();
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** False once the process has ended (a waiting child may have been killed). */
  get alive(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null && this.#process.pid !== undefined;
  }

  /** Hands over the task. `processorSeconds` is a backstop in case nobody is left to enforce the deadline. */
  run(task: ChildTask, onMessage: (message: ChildMessage) => void, processorSeconds: number): void {
    if (this.#process.pid !== undefined)
      limitProcessorSeconds(this.#options.sandbox, this.#process.pid, processorSeconds);
    this.#listener = onMessage;
    for (const message of this.#early.splice(0)) onMessage(message);
    this.#process.stdin?.write(`${JSON.stringify(task)}\n`);
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  /** Kills the process where it still lives and removes its folder. */
  async dispose(): Promise<void> {
    this.kill();
    await this.exited;
    await rm(this.directory, { recursive: true, force: true });
  }

  #watch(): Promise<ChildExit> {
    const child = this.#process;
    child.stdin?.on('error', () => undefined); // EPIPE: the exit is what counts, and it is reported
    const lines = child.stdio[3];
    if (lines !== null && lines !== undefined && 'read' in lines) this.#readLines(lines);
    child.stdout?.on('data', (chunk: Buffer) => this.#text(chunk));
    child.stderr?.on('data', (chunk: Buffer) => this.#text(chunk));
    const poll = setInterval(() => this.#checkMemory(), MEMORY_POLL_MS);
    return new Promise((resolve) => {
      const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
        clearInterval(poll);
        resolve({ code, signal, stderrTail: this.#stderr, overMemory: this.#overMemory });
      };
      child.once('error', (error) => {
        this.#stderr += messageOf(error);
        finish(null, null);
      });
      child.once('close', finish);
    });
  }

  #text(chunk: Buffer): void {
    this.#stderr = (this.#stderr + chunk.toString('utf8')).slice(-STDERR_TAIL_BYTES);
  }

  #readLines(stream: Readable): void {
    let pending: Buffer = Buffer.alloc(0);
    stream.on('data', (chunk: Buffer) => {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      for (let end = pending.indexOf(10); end >= 0; end = pending.indexOf(10)) {
        this.#line(pending.subarray(0, end).toString('utf8'));
        pending = pending.subarray(end + 1);
      }
      if (pending.length > MAX_LINE_BYTES) {
        this.#protocolError(`a line of more than ${MAX_LINE_BYTES} bytes`);
        pending = Buffer.alloc(0);
      }
    });
    stream.on('error', () => undefined);
  }

  #line(line: string): void {
    let message: ChildMessage;
    try {
      message = ChildMessage.parse(JSON.parse(line));
    } catch (error) {
      this.#protocolError(messageOf(error));
      return;
    }
    if (this.#listener === undefined) this.#early.push(message);
    else this.#listener(message);
  }

  /** A child that does not keep the protocol may be taken over: it is ended, and nothing it says counts. */
  #protocolError(what: string): void {
    this.#stderr = `${this.#stderr}\nprotocol error: ${what.slice(0, 500)}`.slice(-STDERR_TAIL_BYTES);
    this.#listener = () => undefined;
    this.kill();
  }

  #checkMemory(): void {
    const pid = this.#process.pid;
    if (pid === undefined || process.platform !== 'linux') return;
    let residentPages: number;
    try {
      residentPages = Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]);
    } catch {
      return; // gone; the exit is on its way
    }
    if (residentPages * 4096 > this.#options.limits.memoryBytes) {
      this.#overMemory = true;
      this.kill();
    }
  }
}

/** The child's entry runs as this file does: compiled, or TypeScript through tsx. */
function entryArguments(limits: ChildLimits): string[] {
  const entry = fileURLToPath(new URL(`./job-child${extname(fileURLToPath(import.meta.url))}`, import.meta.url));
  const heap = `--max-old-space-size=${Math.max(256, Math.floor(limits.memoryBytes / 2 ** 20 / 2))}`;
  const loader = entry.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
  // V8 collects everything for each few dozen megabytes of tensors that come and go. Its helper threads would take a fourteenth of a
  // job's processor time for that, beside the `threads` it has; one thread walks a heap of 30 MB in milliseconds.
  return [heap, '--single-threaded-gc', ...loader, entry];
}

/** What a child's end without a result means, as an error of our table. */
export function errorOfExit(exit: ChildExit): CompressionError {
  const tail = exit.stderrTail.trim().split('\n').slice(-3).join(' | ').slice(0, 600);
  if (
    exit.overMemory ||
    /heap out of memory|Fatal process out of memory|bad_alloc|Allocation failed/i.test(exit.stderrTail)
  ) {
    return new CompressionError(
      'LIMIT_MEMORY',
      `the job needed more memory than its limit allows${tail === '' ? '' : `: ${tail}`}`,
    );
  }
  if (exit.signal === 'SIGXCPU') return new CompressionError('LIMIT_TIME', 'the job used up its processor time');
  const how = exit.signal === null ? `exit code ${exit.code ?? 'unknown'}` : `signal ${exit.signal}`;
  return new CompressionError(
    'CHILD_CRASH',
    `the job process ended without a result (${how})${tail === '' ? '' : `: ${tail}`}`,
  );
}
