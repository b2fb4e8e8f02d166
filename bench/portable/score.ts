/** Child of the benchmark: `score.ts NETS.json NAME FILE...` prints percent top-1 of the net and of its quantized files, one line of JSON. */
import { tmpdir } from 'node:os';
import { defined } from '../../src/errors.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import { feedsOf, readNets } from '../nets.ts';
import { topOne } from '../quantize/measure.ts';

const [list = '', name = '', ...files] = process.argv.slice(2);
const net = defined(
  readNets(list).find((one) => one.name === name),
  name,
);
const runtime = createRuntime(tmpdir());
const { feeds, close } = await feedsOf(net, 'test');

async function percent(path: string): Promise<number> {
  const session = await runtime.createSession({ path }, { threads: 1 });
  try {
    return 100 * (await topOne(session, feeds));
  } finally {
    await session.release();
  }
}

const float = await percent(net.model);
const top1: number[] = [];
for (const file of files) top1.push(await percent(file));
await close();
console.log(JSON.stringify({ float, top1 }));
