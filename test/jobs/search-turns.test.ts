import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { until } from '../contract/job-queue.ts';
import { newJob, openJobs } from '../helpers/jobs.ts';
import { Searches, specOf } from '../helpers/searches.ts';

describe('turns of a search in the queue', () => {
  let jobs: Awaited<ReturnType<typeof openJobs>>;
  before(async () => {
    jobs = await openJobs();
  });
  after(() => jobs.stop());

  it('gives trials turns beside the jobs of others, behind those of their own tenant, and lets a canceled search go first', async () => {
    const searches = new Searches(jobs, 'searcher');
    const search = await searches.waiting(
      [1, 2, 3].map((level) => specOf(level)),
      { priority: 10 },
    );
    // As if a consumer had taken it: its tenant has had a turn of the first round.
    await jobs.queue.remove(search.id);
    const trials = search.search?.waiting ?? [];
    const submit = async (tenant: string, priority: number) =>
      (await jobs.service.submit(newJob({ tenant, priority }))).record.id;
    const others = [await submit('other', 0), await submit('other', 0)];
    const own = await submit('searcher', 10);
    const line = async (ids: readonly string[]) => {
      const places = await Promise.all(ids.map((id) => jobs.queue.position(id)));
      return places.map((place) => place ?? -1);
    };
    const kinds = async () => {
      const all = [...trials, ...others, own];
      const places = await line(all);
      const kindOf = (id: string) => (id === own ? 'own' : trials.includes(id) ? 'trial' : 'other');
      return all.toSorted((a, b) => (places[all.indexOf(a)] ?? 0) - (places[all.indexOf(b)] ?? 0)).map(kindOf);
    };
    assert.deepEqual(await kinds(), ['other', 'own', 'other', 'trial', 'trial', 'trial']);

    // A trial that ends wakes its search, which pushes nobody of the others back.
    const [first = ''] = trials;
    const before = await line(others);
    await jobs.queue.remove(first);
    await searches.finish(first);
    await until(async () => (await jobs.queue.position(search.id)) !== undefined);
    const behind = await line(others);
    assert.ok(behind.every((place, n) => place <= (before[n] ?? 0) + 1));

    await jobs.service.cancel(searches.tenant, search.id);
    assert.equal(await jobs.queue.position(search.id), 0);
  });
});
