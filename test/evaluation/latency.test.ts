import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compareLatencies, measureLatencies, type MeasuredLatency } from '../../src/evaluation/latency.ts';
import { Graph } from '../../src/onnx/graph.ts';
import { Model } from '../../src/onnx/model.ts';
import type { Runtime, Session, SessionOptions } from '../../src/runtime/session.ts';
import { fakeSession, float, rows } from './helpers.ts';

function timed(blockMedians: readonly number[]): MeasuredLatency {
  const p50Ms = blockMedians[0] ?? 1;
  const histogram = { fromMs: p50Ms, toMs: p50Ms, counts: [1], above: 0 };
  const numbers = { p50Ms, p90Ms: p50Ms, p99Ms: p50Ms, meanMs: p50Ms, minMs: p50Ms };
  const counts = { runs: 10, warmupRuns: 10, threads: 1, batch: 1, coldStartMs: 1, coefficientOfVariation: 0 };
  return { blockMedians, latency: { ...numbers, ...counts, histogram } };
}
const steady = (ms: number, noise: number): MeasuredLatency =>
  timed(Array.from({ length: 16 }, (_, i) => ms * (1 + noise * Math.sin(7 * i + ms))));

describe('compareLatencies', () => {
  it('claims a difference that the noise carries', () => {
    const faster = compareLatencies(steady(2, 0.02), steady(1, 0.02), 1);
    assert.equal(faster.verdict, 'faster');
    assert.ok(faster.speedup > 1.9 && faster.speedup < 2.1);
    assert.ok(faster.confidenceInterval[0] <= faster.speedup && faster.speedup <= faster.confidenceInterval[1]);
    assert.equal(compareLatencies(steady(1, 0.02), steady(2, 0.02), 1).verdict, 'slower');
  });

  it('claims nothing inside the noise, and nothing below 2 %', () => {
    assert.equal(compareLatencies(steady(1.01, 0.05), steady(1, 0.06), 1).verdict, 'inconclusive');
    const tiny = compareLatencies(steady(1.01, 0), steady(1, 0), 1);
    assert.equal(tiny.verdict, 'inconclusive');
    assert.match(tiny.reason, /below 2\.0 %/);
  });

  it('claims nothing on a restless machine unless every block says so', () => {
    const restless = timed(Array.from({ length: 16 }, (_, i) => (i % 8 === 0 ? 0.9 : 2.5)));
    const doubtful = compareLatencies(restless, steady(1, 0), 1);
    assert.equal(doubtful.verdict, 'inconclusive');
    assert.match(doubtful.reason, /not steady/);
    const wild = timed(Array.from({ length: 16 }, (_, i) => (i % 3 === 0 ? 2 : 5)));
    const unanimous = compareLatencies(wild, steady(1, 0), 1);
    assert.equal(unanimous.verdict, 'faster');
    assert.match(unanimous.reason, /size is uncertain/);
  });

  it('repeats with its seed', () => {
    assert.deepEqual(
      compareLatencies(steady(2, 0.1), steady(1, 0.1), 7),
      compareLatencies(steady(2, 0.1), steady(1, 0.1), 7),
    );
  });

  it('claims nothing from three blocks', () => {
    assert.equal(compareLatencies(timed([2, 2, 2]), timed([1, 1, 1]), 1).verdict, 'inconclusive');
  });
});

describe('measureLatencies', () => {
  const wait = (ms: number): void => {
    const end = performance.now() + ms;
    while (performance.now() < end);
  };
  const subject = (name: string) => ({
    model: new Model({ graph: new Graph({ name }), opsetImports: new Map() }),
  });

  /** A runtime whose sessions take as long as the graph's name says, and which notes what was asked of it. */
  function fakeRuntime(notes: string[], options: SessionOptions[]): Runtime {
    return {
      version: 'fake',
      createSession(model, sessionOptions) {
        options.push(sessionOptions);
        const name = model instanceof Model ? model.graph.name : '';
        const session: Session = {
          ...fakeSession([{ name: 'y', type: 'float', shape: [] }], () => {
            notes.push(name);
            wait(name === 'slow' ? 0.6 : 0.2);
            return { y: float([1]) };
          }),
          release: () => {
            notes.push(`release ${name}`);
            return Promise.resolve();
          },
        };
        return Promise.resolve(session);
      },
    };
  }

  it('alternates blocks, warms up, keeps to its budget and releases its sessions', async () => {
    const notes: string[] = [];
    const options: SessionOptions[] = [];
    const start = performance.now();
    const measured = await measureLatencies(
      fakeRuntime(notes, options),
      [subject('slow'), subject('fast')],
      rows([[1], [2], [3]]),
      { threads: 2, seed: 0, budgetMs: 100 },
    );
    const [slow, fast] = measured ?? [];
    assert.ok(slow !== undefined && fast !== undefined);
    assert.ok(performance.now() - start < 1500);
    assert.ok(slow.latency.warmupRuns >= 10 && slow.latency.p50Ms >= 0.6 && slow.latency.p50Ms > fast.latency.p50Ms);
    assert.equal(slow.blockMedians.length, 16);
    assert.ok(slow.latency.p50Ms <= slow.latency.p90Ms && slow.latency.p90Ms <= slow.latency.p99Ms);
    const { counts, above } = slow.latency.histogram;
    assert.equal(
      counts.reduce((sum, count) => sum + count, above),
      slow.latency.runs,
    );
    // A-B, B-A, A-B …: 16 blocks each, neighbours across a pair of blocks belong to the same model
    const timedNotes = notes.slice(2);
    const switches = timedNotes.filter(
      (note, i) => i > 0 && note !== timedNotes[i - 1] && !note.startsWith('release'),
    ).length;
    assert.ok(switches >= 16 && switches <= 22, `${switches} switches between the models`);
    assert.deepEqual(notes.slice(-2), ['release slow', 'release fast']);
    assert.ok(options.every(({ spinning, threads }) => spinning === false && threads === 2));
  });

  it('runs a model slower than its budget a few times only', async () => {
    const notes: string[] = [];
    const measured = await measureLatencies(fakeRuntime(notes, []), [subject('slow'), subject('fast')], rows([[1]]), {
      threads: 1,
      seed: 0,
      budgetMs: 1,
    });
    assert.equal(measured?.[0]?.latency.runs, 8);
    // cold start, two of warm-up, one a block
    assert.equal(notes.filter((note) => note === 'slow').length, 11);
  });

  it('times full batches only', async () => {
    const five = rows([[1], [2], [3], [4], [5]]);
    const options = { threads: 1, seed: 0, budgetMs: 1, batch: 2 };
    const measured = await measureLatencies(fakeRuntime([], []), [subject('fast')], five, options);
    assert.equal(measured?.[0]?.latency.batch, 2);
  });

  it('measures nothing without samples', async () => {
    const measured = await measureLatencies(fakeRuntime([], []), [subject('fast')], rows([]), { threads: 1, seed: 0 });
    assert.equal(measured, undefined);
  });
});
