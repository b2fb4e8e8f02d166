import { defined } from '../../src/errors.ts';
import type { FeedSource } from '../../src/passes/pass.ts';
import type { Session } from '../../src/runtime/session.ts';

/** Milliseconds of this process on processors: what other processes take away from it is not in it. */
export function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Medians of runs in turns, milliseconds; threads do not spin, so that live sessions do not distort each other. */
export async function latencies(
  sessions: readonly Session[],
  evaluation: FeedSource,
  now: () => number = () => performance.now(),
): Promise<number[]> {
  const times = sessions.map((): number[] => []);
  for await (const batch of evaluation.batches(1)) {
    for (const [index, session] of sessions.entries()) {
      const [input] = Object.values(batch.feeds);
      const name = defined(session.inputs[0], 'input').name;
      const feeds = { [name]: defined(input, 'input') };
      await session.run(feeds);
      const started = now();
      for (let run = 0; run < 5; run += 1) await session.run(feeds);
      defined(times[index], 'times').push((now() - started) / 5);
    }
    if ((times[0]?.length ?? 0) >= 100) break;
  }
  return times.map((list) => list.sort((a, b) => a - b)[list.length >> 1] ?? NaN);
}

/** Share of the samples whose largest score is at their label. */
export async function topOne(session: Session, evaluation: FeedSource): Promise<number> {
  const [input, output] = [defined(session.inputs[0], 'input').name, defined(session.outputs[0], 'output').name];
  let [right, all] = [0, 0];
  for await (const { feeds, labels, count } of evaluation.batches(100)) {
    const scores = defined(
      (await session.run({ [input]: defined(Object.values(feeds)[0], input) })).get(output),
      output,
    );
    const classes = scores.data.length / (scores.dims[0] ?? 1);
    for (let sample = 0; sample < count; sample += 1) {
      const row = Array.from({ length: classes }, (_, index) => Number(scores.data[sample * classes + index]));
      if (row.indexOf(Math.max(...row)) === Number(labels?.data[sample])) right += 1;
      all += 1;
    }
  }
  return right / all;
}
