import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { TersorClient } from '../src/client/client.ts';

/** Starts the built service on its embedded default in a folder of its own, and stops it after `use`. */
export async function withService<T>(use: (client: TersorClient) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'tersor-bench-'));
  const service = spawn(process.execPath, ['dist/src/server.js'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PORT: '0', DATA_DIR: join(folder, 'data') },
  });
  const gone = new Promise((resolve) => service.once('exit', resolve));
  try {
    return await use(new TersorClient({ baseUrl: await address(service.stdout) }));
  } finally {
    service.kill('SIGTERM');
    await gone;
    await rm(folder, { recursive: true, force: true });
  }
}

/** The address that the service logs once it listens. */
function address(stdout: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve, reject) => {
    createInterface({ input: stdout })
      .on('line', (line) => {
        const found = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
        if (found !== undefined) resolve(found);
      })
      .on('close', () => reject(new Error('the service ended before it listened; run `npm run build` first')));
  });
}
