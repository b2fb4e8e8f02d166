/**
 * Entry of the job child. ONNX Runtime lives here and nowhere else. Reads one task from stdin, writes messages to file
 * descriptor 3, ends.
 */
import { writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { CompressionError, messageOf } from '../src/errors.ts';
import { createRuntime } from '../src/runtime/onnxruntime.ts';
import { measureKernelCosts } from '../src/passes/cost/kernel-cost-table.ts';
import { ChildTask, type ChildMessage } from './protocol.ts';
import { runJob } from './run-job.ts';

const PROTOCOL_FD = 3;

function send(message: ChildMessage): void {
  const line = Buffer.from(`${JSON.stringify(message)}\n`, 'utf8');
  let sent = 0;
  while (sent < line.length) {
    try {
      sent += writeSync(PROTOCOL_FD, line, sent);
    } catch (error) {
      // The pipe is full for the moment: the parent is reading, so try again. Any other error: the parent is gone.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') process.exit(1);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

async function execute(task: ChildTask): Promise<void> {
  const started = performance.now();
  const runtime = createRuntime(process.cwd());
  switch (task.kind) {
    case 'measure-costs': {
      const table = await measureKernelCosts(runtime, { threads: task.threads });
      await writeFile(task.outputPath, JSON.stringify(table));
      send({
        type: 'result',
        artifacts: [],
        summary: emptySummary(),
        verdict: 'none',
        computeMs: performance.now() - started,
      });
      return;
    }
    case 'job': {
      const result = await runJob(task, {
        runtime,
        directory: process.cwd(),
        emit: send,
        signal: new AbortController().signal,
      });
      if (result !== undefined) send({ type: 'result', ...result, computeMs: performance.now() - started });
    }
  }
}

function emptySummary() {
  const none = { before: null, after: null };
  return { bytes: none, accuracy: none, latencyP50Ms: none };
}

/** The class of an error is lost in JSON: what is needed to decide about a retry is decided here. */
function report(error: unknown): void {
  const known = error instanceof CompressionError;
  const step = known && 'step' in error && typeof error.step === 'number' ? error.step : null;
  const noSpace =
    (error as NodeJS.ErrnoException | null)?.code === 'ENOSPC' ||
    (error as NodeJS.ErrnoException | null)?.code === 'EFBIG';
  const memory =
    error instanceof RangeError && /allocation failed|Invalid array length|Array buffer/i.test(error.message);
  const code = known ? error.code : noSpace ? 'DISK_FULL' : memory ? 'LIMIT_MEMORY' : 'INTERNAL';
  send({
    type: 'error',
    code,
    message: messageOf(error).slice(0, 8000),
    step,
    retryable: known ? error.retryable : noSpace,
  });
  if (!known) process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
}

const input = createInterface({ input: process.stdin });
let busy = false;
input.on('line', (line) => {
  if (busy) return;
  busy = true;
  void (async () => {
    try {
      await execute(ChildTask.parse(JSON.parse(line)));
    } catch (error) {
      report(error);
    }
    process.exit(0);
  })();
});
// The parent is gone: nobody would take the result. (The kernel does the same where it can, even during native code.)
input.on('close', () => {
  process.exit(1);
});
send({ type: 'ready' });
