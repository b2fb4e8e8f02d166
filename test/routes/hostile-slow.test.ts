// H9 of the threat model: senders that drip. They are given up within 30 s, and cost nobody else anything.
import assert from 'node:assert/strict';
import { connect, type AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { startApp, type TestApp } from '../helpers/http-app.ts';

const PATIENCE_MS = 30_000;
const DRIP_MS = 1000;

describe('H9 slow senders', { concurrency: true }, () => {
  let test: TestApp;
  let port: number;
  before(async () => {
    test = await startApp();
    await test.app.listen({ port: 0, host: '127.0.0.1' });
    port = (test.app.server.address() as AddressInfo).port;
  });
  after(() => test.close());

  /** Sends the start, then one more byte a second for as long as the server takes it; gives the answer at the end. */
  const drip = (start: string, byte: string): Promise<string> =>
    new Promise((resolve, reject) => {
      let answer = '';
      const socket = connect(port, '127.0.0.1', () => socket.write(start));
      const dripping = setInterval(() => socket.write(byte), DRIP_MS);
      const patience = setTimeout(() => {
        socket.destroy();
        reject(new Error(`still open after ${PATIENCE_MS} ms; so far: ${answer}`));
      }, PATIENCE_MS);
      socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
      socket.on('error', () => undefined); // a write after the server closed; `close` follows
      socket.on('close', () => {
        clearInterval(dripping);
        clearTimeout(patience);
        resolve(answer);
      });
    });

  const slow = {
    'a header byte a second': ['GET /v1/passes HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ', 'a'],
    'a body byte a second': [
      'POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"model":"',
      'a',
    ],
  } as const;
  for (const [name, [start, byte]] of Object.entries(slow))
    it(name, async () => {
      const others: Promise<number>[] = [];
      const asking = setInterval(() => {
        others.push(fetch(`http://127.0.0.1:${port}/healthz`).then(({ status }) => status));
      }, 500);
      const answers = await Promise.all(Array.from({ length: 20 }, () => drip(start, byte)));
      clearInterval(asking);
      for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 408 /);
      assert.deepEqual(new Set(await Promise.all(others)), new Set([200]), 'others were served all the while');
    });
});
