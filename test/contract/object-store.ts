import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { CompressionError } from '../../src/errors.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { probeStore } from '../../src/storage/probe.ts';

export interface StoreFixture {
  /** Two clients of one place, as two processes have them. */
  readonly store: ObjectStore;
  readonly other: ObjectStore;
  stop(): Promise<void>;
}

/** What every ObjectStore must do. Implementations differ in nothing a caller can see. */
export function describeObjectStore(
  name: string,
  options: { readonly skip: string | false; readonly start: () => Promise<StoreFixture> },
): void {
  describe(`ObjectStore contract: ${name}`, { skip: options.skip }, () => {
    let fixture: StoreFixture;
    let store: ObjectStore;
    let other: ObjectStore;
    let folders = 0;
    const freshFolder = () => `t${folders++}/`;
    const bytes = (text: string) => Buffer.from(text);
    const text = (found: { readonly body: Uint8Array } | undefined) =>
      found === undefined ? undefined : Buffer.from(found.body).toString();

    before(async () => {
      fixture = await options.start();
      ({ store, other } = fixture);
    });
    after(async () => {
      await store.close();
      await other.close();
      await fixture.stop();
    });

    it('passes the start-up probe', async () => {
      await probeStore(store);
      assert.deepEqual(await store.list('probe/'), []);
    });

    it('answers undefined for what is not there', async () => {
      const key = `${freshFolder()}none`;
      assert.equal(await store.get(key), undefined);
      assert.equal(await store.read(key), undefined);
      assert.equal(await store.read(key, { start: 0, end: 1 }), undefined);
      assert.equal(await store.head(key), undefined);
      await store.delete(key);
    });

    it('reads what another client wrote, with one etag everywhere', async () => {
      const folder = freshFolder();
      const key = `${folder}a.json`;
      const put = await store.put(key, bytes('one'));
      assert.ok(put.ok);
      const found = await other.get(key);
      assert.equal(text(found), 'one');
      const info = { key, bytes: 3, etag: put.etag };
      assert.equal(found?.etag, put.etag);
      assert.deepEqual(await other.head(key), info);
      assert.deepEqual(await other.list(folder), [info]);
    });

    it('keeps an empty object and every byte value', async () => {
      const folder = freshFolder();
      const all = Uint8Array.from({ length: 256 }, (_, index) => index);
      await store.put(`${folder}empty`, new Uint8Array(0));
      await store.put(`${folder}all`, all);
      assert.equal((await store.get(`${folder}empty`))?.body.length, 0);
      assert.deepEqual(Uint8Array.from((await store.get(`${folder}all`))?.body ?? []), all);
    });

    it('replaces without a condition', async () => {
      const key = `${freshFolder()}a`;
      const first = await store.put(key, bytes('1'));
      const second = await store.put(key, bytes('2'));
      assert.ok(first.ok && second.ok);
      assert.notEqual(first.etag, second.etag);
      assert.equal(text(await other.get(key)), '2');
    });

    it('ifAbsent: writes once', async () => {
      const key = `${freshFolder()}a`;
      assert.ok((await store.put(key, bytes('1'), { ifAbsent: true })).ok);
      assert.deepEqual(await other.put(key, bytes('2'), { ifAbsent: true }), { ok: false, reason: 'conflict' });
      assert.equal(text(await store.get(key)), '1');
      await store.delete(key);
      assert.ok((await other.put(key, bytes('3'), { ifAbsent: true })).ok);
    });

    it('ifMatch: writes only over the version it names', async () => {
      const key = `${freshFolder()}a`;
      const first = await store.put(key, bytes('1'));
      assert.ok(first.ok);
      const second = await other.put(key, bytes('2'), { ifMatch: first.etag });
      assert.ok(second.ok);
      assert.deepEqual(await store.put(key, bytes('3'), { ifMatch: first.etag }), { ok: false, reason: 'conflict' });
      assert.equal(text(await store.get(key)), '2');
      await store.delete(key);
      const gone = await store.put(key, bytes('4'), { ifMatch: second.etag });
      assert.deepEqual(gone, { ok: false, reason: 'conflict' });
      assert.equal(await store.get(key), undefined);
    });

    it('of 50 racing ifAbsent writes exactly one wins', async () => {
      const key = `${freshFolder()}race`;
      const results = await Promise.all(
        Array.from({ length: 50 }, (_, n) => (n % 2 ? store : other).put(key, bytes(`${n}`), { ifAbsent: true })),
      );
      const winners = [...results.entries()].filter(([, result]) => result.ok);
      assert.equal(winners.length, 1);
      assert.equal(text(await store.get(key)), String(winners[0]?.[0]));
    });

    it('of 50 racing ifMatch writes exactly one wins', async () => {
      const key = `${freshFolder()}race`;
      const first = await store.put(key, bytes('start'));
      assert.ok(first.ok);
      const results = await Promise.all(
        Array.from({ length: 50 }, (_, n) => (n % 2 ? store : other).put(key, bytes(`${n}`), { ifMatch: first.etag })),
      );
      const winners = [...results.entries()].filter(([, result]) => result.ok);
      assert.equal(winners.length, 1);
      assert.equal(text(await store.get(key)), String(winners[0]?.[0]));
    });

    it('loses no increment when two clients count with compare-and-set', async () => {
      const key = `${freshFolder()}counter`;
      await store.put(key, bytes('0'));
      const increment = async (client: ObjectStore) => {
        for (;;) {
          const found = await client.get(key);
          assert.ok(found);
          const next = bytes(String(Number(text(found)) + 1));
          if ((await client.put(key, next, { ifMatch: found.etag })).ok) return;
        }
      };
      const tens = (client: ObjectStore) => async () => {
        for (let n = 0; n < 10; n++) await increment(client);
      };
      await Promise.all([tens(store)(), tens(other)(), tens(store)(), tens(other)()]);
      assert.equal(text(await store.get(key)), '40');
    });

    it('lists in order of bytes, with prefix, after and limit', async () => {
      const folder = freshFolder();
      const names = ['a-b', 'a/b', 'a/c/d', 'a0', 'aB', 'ab', 'b', 'c.json', 'c/1'];
      for (const name of [...names].reverse()) await store.put(folder + name, bytes(name));
      const listed = async (prefix: string, more = {}) =>
        (await other.list(folder + prefix, more)).map((info) => info.key.slice(folder.length));
      assert.deepEqual(await listed(''), names);
      assert.deepEqual(await listed('a'), ['a-b', 'a/b', 'a/c/d', 'a0', 'aB', 'ab']);
      assert.deepEqual(await listed('a/'), ['a/b', 'a/c/d']);
      assert.deepEqual(await listed('c.'), ['c.json']);
      assert.deepEqual(await listed('none'), []);
      assert.deepEqual(await listed('', { limit: 3 }), ['a-b', 'a/b', 'a/c/d']);
      assert.deepEqual(await listed('', { after: `${folder}a/b`, limit: 3 }), ['a/c/d', 'a0', 'aB']);
      assert.deepEqual(await listed('a/', { after: `${folder}a/b` }), ['a/c/d']);
      assert.deepEqual(await listed('', { after: `${folder}c/1` }), []);
      assert.deepEqual(await listed('', { after: `${folder}a/bzz` }), names.slice(2));
    });

    it('writes and reads a stream of 20 MiB, and parts of it', async () => {
      const folder = freshFolder();
      const body = randomBytes(20 << 20);
      const chunks = Array.from({ length: 40 }, (_, n) => body.subarray(n << 19, (n + 1) << 19));
      const info = await store.write(`${folder}big`, Readable.from(chunks));
      assert.equal(info.bytes, body.length);
      assert.deepEqual(await other.head(`${folder}big`), info);
      const stream = await other.read(`${folder}big`);
      assert.ok(stream);
      const hash = createHash('sha256');
      for await (const chunk of stream) hash.update(Buffer.from(chunk));
      assert.equal(hash.digest('hex'), createHash('sha256').update(body).digest('hex'));
      const range = await other.read(`${folder}big`, { start: 1000, end: 5_000_000 });
      assert.ok(range);
      assert.ok((await buffer(range)).equals(body.subarray(1000, 5_000_001)));
      const tail = await other.read(`${folder}big`, { start: body.length - 1, end: body.length + 100 });
      assert.ok(tail);
      assert.ok((await buffer(tail)).equals(body.subarray(-1)));
    });

    it('writes small and empty streams', async () => {
      const folder = freshFolder();
      assert.equal((await store.write(`${folder}small`, Readable.from([bytes('ab'), bytes('c')]))).bytes, 3);
      assert.equal((await store.write(`${folder}none`, Readable.from([]))).bytes, 0);
      assert.equal(text(await other.get(`${folder}small`)), 'abc');
      assert.equal((await other.get(`${folder}none`))?.body.length, 0);
    });

    it('refuses a range past the end', async () => {
      const key = `${freshFolder()}a`;
      await store.put(key, bytes('abc'));
      await assert.rejects(store.read(key, { start: 3, end: 9 }), hasCode('RANGE_NOT_SATISFIABLE'));
    });

    it('shows nothing of a stream that fails, and keeps what was there', async () => {
      const folder = freshFolder();
      const failing = () =>
        Readable.from(
          (async function* () {
            yield randomBytes(9 << 20); // more than one part
            await Promise.resolve();
            throw new Error('source broke');
          })(),
        );
      await store.put(`${folder}old`, bytes('old'));
      await assert.rejects(store.write(`${folder}new`, failing()), /source broke/);
      await assert.rejects(store.write(`${folder}old`, failing()), /source broke/);
      assert.equal(await other.head(`${folder}new`), undefined);
      assert.equal(text(await other.get(`${folder}old`)), 'old');
      assert.equal((await other.list(folder)).length, 1);
    });

    it('goes on reading the version it began with while another is written', async () => {
      const key = `${freshFolder()}a`;
      const body = randomBytes(4 << 20);
      await store.write(key, Readable.from([body]));
      const stream = await other.read(key);
      assert.ok(stream);
      const iterator = stream[Symbol.asyncIterator]();
      const first: unknown = (await iterator.next()).value;
      assert.ok(first instanceof Uint8Array);
      await store.put(key, bytes('new'));
      const rest = [Buffer.from(first)];
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
        const chunk: unknown = next.value;
        assert.ok(chunk instanceof Uint8Array);
        rest.push(Buffer.from(chunk));
      }
      assert.ok(Buffer.concat(rest).equals(body));
    });

    it('copies on the server', async () => {
      const folder = freshFolder();
      await store.put(`${folder}from`, bytes('abc'));
      await store.copy(`${folder}from`, `${folder}to+@=.x`);
      assert.equal(text(await other.get(`${folder}to+@=.x`)), 'abc');
      assert.equal(text(await other.get(`${folder}from`)), 'abc');
      await assert.rejects(store.copy(`${folder}none`, `${folder}x`), hasCode('INPUT_NOT_FOUND'));
    });

    it('refuses keys that could leave the store', async () => {
      for (const key of [
        '',
        '/',
        '/etc/passwd',
        '../x',
        'a/../b',
        'a//b',
        'a/',
        './a',
        'a\0b',
        'C:\\x',
        'a\\b',
        '.hidden',
      ]) {
        await assert.rejects(store.get(key), hasCode('BAD_REQUEST'), JSON.stringify(key));
        await assert.rejects(store.put(key, bytes('x')), hasCode('BAD_REQUEST'), JSON.stringify(key));
        await assert.rejects(store.delete(key), hasCode('BAD_REQUEST'), JSON.stringify(key));
      }
      await assert.rejects(store.list('../'), hasCode('BAD_REQUEST'));
    });
  });
}

export function hasCode(code: string) {
  return (error: unknown) => {
    assert.ok(error instanceof CompressionError, `expected ${code}, got ${String(error)}`);
    assert.equal(error.code, code, error.message);
    return true;
  };
}
