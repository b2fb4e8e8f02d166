import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { lockDataDir } from '../../src/storage/data-dir-lock.ts';
import { acquireFileLock, tryFileLock } from '../../src/storage/file-lock.ts';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { livenessOf, processIdentity } from '../../src/storage/process-identity.ts';
import { hasCode } from '../contract/object-store.ts';

const PROGRAM = join(import.meta.dirname, '../fixtures/store-process.ts');
const args = (root: string, ...more: string[]) => ['--import', 'tsx', PROGRAM, root, ...more];
const ended = (child: ChildProcess) => new Promise<number | null>((resolve) => child.once('exit', resolve));

describe('FileSystemStore', () => {
  let root: string;
  let store: FileSystemStore;
  const roots: string[] = [];
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'tersor-fs-'));
    roots.push(root);
    store = new FileSystemStore(root);
  });
  after(() => Promise.all(roots.map((folder) => rm(folder, { recursive: true, force: true }))));

  const counter = async () => Number(Buffer.from((await store.get('counter'))?.body ?? []).toString());

  it(
    'loses no compare-and-set between processes, also when one is killed at any moment',
    { timeout: 30_000 },
    async () => {
      await store.put('counter', Buffer.from('0'));
      const victim = spawn(process.execPath, args(root, 'count-forever'), { stdio: ['ignore', 'pipe', 'inherit'] });
      let acknowledged = 0;
      victim.stdout.on('data', (chunk: Buffer) => (acknowledged += chunk.length));
      const workers = [1, 2].map(() => spawn(process.execPath, args(root, 'count', '100'), { stdio: 'inherit' }));
      const exits = workers.map(ended);
      while (acknowledged < 20) await delay(5);
      const gone = ended(victim);
      victim.kill('SIGKILL');
      await gone;
      assert.deepEqual(await Promise.all(exits), [0, 0]);
      const total = await counter();
      // Its last increment may have happened without being told.
      assert.ok(total === 200 + acknowledged || total === 200 + acknowledged + 1, `${total} for 200 + ${acknowledged}`);
      await store.put('other', Buffer.from('x'));
      const left = await readdir(join(root, 'locks'));
      assert.ok(left.length <= 1, `locks left: ${left.join()}`); // at most the victim's, which the next writer removes
    },
  );

  it('gives every version another etag, however fast they follow', async () => {
    const etags = new Set<string>();
    for (let n = 0; n < 200; n++) {
      const result = await store.put('a', Buffer.from('same'));
      assert.ok(result.ok);
      etags.add(result.etag);
    }
    assert.equal(etags.size, 200);
  });

  it('keeps objects as plain files', async () => {
    await store.put('tenants/acme/a.json', Buffer.from('{}'));
    assert.equal(await readFile(join(root, 'objects/tenants/acme/a.json'), 'utf8'), '{}');
  });

  it('leaves no empty folders and no temporary files', async () => {
    await store.put('a/b/c/d', Buffer.from('x'));
    await store.put('a/keep', Buffer.from('x'));
    await store.delete('a/b/c/d');
    assert.deepEqual(await readdir(join(root, 'objects/a')), ['keep']);
    await store.delete('a/keep');
    assert.deepEqual(await readdir(join(root, 'objects')), []);
    await store.put('a', Buffer.from('x'), { ifMatch: 'none' });
    const failing = Readable.from(
      (function* () {
        yield Buffer.from('x');
        throw new Error('broke');
      })(),
    );
    await assert.rejects(store.write('b', failing), /broke/);
    assert.deepEqual(await readdir(join(root, 'tmp')), []);
    assert.deepEqual(await readdir(join(root, 'locks')), []);
  });

  it('survives writers and deleters of one folder at once', async () => {
    await Promise.all(
      Array.from({ length: 40 }, async (_, n) => {
        const key = `f/g/${n % 4}`;
        await store.put(key, Buffer.from('x'));
        await store.delete(key);
      }),
    );
    assert.deepEqual(await store.list(''), []);
  });

  it('sweeps what a crashed process left', async () => {
    const dead = processIdentity().replace(/-\d+-/, '-999999999-');
    await mkdir(join(root, 'tmp'));
    await writeFile(join(root, 'tmp', `${dead}.abc`), 'half a file');
    await writeFile(join(root, 'tmp', `${processIdentity()}.abc`), 'a file at work');
    await store.put('a', Buffer.from('x'));
    assert.deepEqual(await readdir(join(root, 'tmp')), [`${processIdentity()}.abc`]);
  });

  it('says DISK_FULL when a file cannot grow', (t) => {
    if (spawnSync('prlimit', ['--version']).error !== undefined) {
      t.skip('needs prlimit');
      return;
    }
    const limited = spawnSync('prlimit', ['--fsize=4000000', process.execPath, ...args(root, 'put', '5000000')]);
    assert.equal(limited.stdout.toString(), 'DISK_FULL', limited.stderr.toString());
    const small = spawnSync('prlimit', ['--fsize=4000000', process.execPath, ...args(root, 'put', '1000')]);
    assert.equal(small.stdout.toString(), 'ok');
  });

  it('says what is in the way of a file that is none', async () => {
    await writeFile(join(root, 'objects'), 'not a folder');
    await assert.rejects(store.put('a', Buffer.from('x')), hasCode('OBJECT_STORE_UNAVAILABLE'));
    assert.equal(await store.get('a'), undefined);
  });
});

describe('file locks', () => {
  let folder: string;
  const folders: string[] = [];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-lock-'));
    folders.push(folder);
  });
  after(() => Promise.all(folders.map((path) => rm(path, { recursive: true, force: true }))));

  it('tells living, dead and foreign processes apart', () => {
    const [place = '', , start = ''] = processIdentity().split('-');
    assert.equal(livenessOf(processIdentity()), 'alive');
    assert.equal(livenessOf(`${place}-999999999-${start}`), 'dead');
    assert.equal(livenessOf(`${place}-nonsense-0`), 'dead');
    assert.equal(livenessOf('otherplace00-1-1'), 'foreign');
    if (process.platform === 'linux') assert.equal(livenessOf(`${place}-${process.pid}-1`), 'dead'); // a pid used again
  });

  it('lets one in at a time', async () => {
    let inside = 0;
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const lock = await acquireFileLock(folder, 'a', 10_000);
        assert.ok(lock);
        assert.equal(++inside, 1);
        await delay(1);
        inside--;
        await lock.release();
      }),
    );
    assert.deepEqual(await readdir(folder), []);
  });

  it('gives up at the timeout', async () => {
    const held = await tryFileLock(folder, 'a');
    assert.ok('release' in held);
    assert.equal(await acquireFileLock(folder, 'a', 50), undefined);
    assert.ok(await acquireFileLock(folder, 'b', 50));
    await held.release();
    assert.ok(await acquireFileLock(folder, 'a', 50));
  });

  it('breaks the lock of the dead at once, that of another machine after a minute', async () => {
    const dead = processIdentity().replace(/-\d+-/, '-999999999-');
    await writeFile(join(folder, `a.${dead}.1`), '');
    assert.ok('release' in (await tryFileLock(folder, 'a')));
    const foreign = join(folder, 'b.otherplace00-1-1.1');
    await writeFile(foreign, '');
    assert.ok(!('release' in (await tryFileLock(folder, 'b'))));
    const { utimes } = await import('node:fs/promises');
    const past = new Date(Date.now() - 61_000);
    await utimes(foreign, past, past);
    assert.ok('release' in (await tryFileLock(folder, 'b')));
    await assert.rejects(stat(foreign));
  });

  it('keeps a second service off DATA_DIR, until the first is gone or dead', { timeout: 20_000 }, async () => {
    const release = await lockDataDir(folder);
    await assert.rejects(lockDataDir(folder), hasCode('CONFIG_INVALID'));
    await assert.rejects(lockDataDir(folder), new RegExp(`process ${process.pid}`));
    await release();
    const other = spawn(process.execPath, args(folder, 'hold'), { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => other.stdout.once('data', resolve));
    await assert.rejects(lockDataDir(folder), new RegExp(`process ${other.pid}`));
    const gone = ended(other);
    other.kill('SIGKILL');
    await gone;
    await (
      await lockDataDir(folder)
    )();
  });
});
