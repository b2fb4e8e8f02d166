import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pino from 'pino';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { CostTables } from '../../workers/cost-tables.ts';
import { probeSandbox } from '../../workers/sandbox.ts';
import { childrenOfThisProcess, gone } from '../helpers/job-children.ts';
import { putKnownKernelCosts } from '../helpers/known-kernel-costs.ts';

describe('cost tables', () => {
  let folder: string;
  let store: FileSystemStore;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-cost-tables-test-'));
    store = new FileSystemStore(join(folder, 'store'));
  });
  after(async () => {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });

  const limits = { memoryBytes: 2 ** 31, fileBytes: 2 ** 30 };
  const tablesOf = (root: string): CostTables =>
    new CostTables({
      store,
      child: { sandbox: probeSandbox(), limits, root, hidden: [] },
      logger: pino({ level: 'silent' }),
      folder: join(folder, 'tables'),
    });
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

  /** Asks for a table that has to be measured; resolves when the measurement has begun. */
  async function ask(tables: CostTables): Promise<{ leave: () => void; answer: Promise<unknown> }> {
    const controller = new AbortController();
    const calls: string[] = [];
    const waiter = { signal: controller.signal, onMeasuring: () => void calls.push('measuring') };
    const answer = tables.get(1, null, waiter);
    answer.catch(() => undefined);
    while (calls.length === 0 || childrenOfThisProcess().length === 0) await delay(20);
    return { leave: () => controller.abort(), answer };
  }

  it('ends the measuring process at once when the last who waits leaves, and neither a timer nor a folder stays', async () => {
    const root = join(folder, 'left');
    const tables = tablesOf(root);
    const before = timers();
    const first = await ask(tables);
    const second = new AbortController();
    const other = tables.get(1, null, {
      signal: second.signal,
      onMeasuring: () => assert.fail('one is measured already'),
    });
    const [pid] = childrenOfThisProcess();
    assert.ok(pid !== undefined);
    assert.ok(timers() > before);
    first.leave();
    await delay(200);
    assert.deepEqual(childrenOfThisProcess(), [pid], 'the other one still waits');
    const left = performance.now();
    second.abort();
    await assert.rejects(other, { code: 'CANCELED' });
    await assert.rejects(first.answer, { code: 'CANCELED' });
    assert.ok(performance.now() - left < 2000);
    await gone([pid]);
    assert.deepEqual(await readdir(root), []);
    assert.equal(timers(), before);
    assert.deepEqual(await store.get('cost-tables/kind'), undefined);
  });

  it('begins anew for one who asks after that, and ends it on close', async () => {
    const tables = tablesOf(join(folder, 'again'));
    const first = await ask(tables);
    first.leave();
    const second = await ask(tables);
    await tables.close();
    await assert.rejects(second.answer, { code: 'CANCELED' });
    assert.deepEqual(childrenOfThisProcess(), []);
  });

  it('gives nothing to one who has left before asking', async () => {
    const tables = tablesOf(join(folder, 'before'));
    const waiter = { signal: AbortSignal.abort(), onMeasuring: () => assert.fail('measures for nobody') };
    await assert.rejects(tables.get(1, null, waiter), { code: 'CANCELED' });
  });

  it('keeps a table that is there when those who asked for it are gone', async () => {
    await putKnownKernelCosts(store, [1]);
    const tables = tablesOf(join(folder, 'known'));
    const controller = new AbortController();
    const waiter = { signal: controller.signal, onMeasuring: () => assert.fail('the table is in the store') };
    const found = await tables.get(1, null, waiter);
    controller.abort();
    const again = await tables.get(1, null, { ...waiter, signal: new AbortController().signal });
    assert.deepEqual(again, found);
  });
});
