import { statSync } from 'node:fs';
import { join } from 'node:path';
import { defined } from '../../src/errors.ts';
import type { Dataset } from '../../src/data/dataset.ts';
import { openDataset } from '../../src/data/open-dataset.ts';
import { bindFeeds } from '../../src/data/bind-feeds.ts';
import { writeModel } from '../../src/onnx/codec/write.ts';
import { loadModel } from '../../src/onnx/codec/load.ts';
import type { Model } from '../../src/onnx/model.ts';
import { runStep } from '../../src/passes/pass-manager.ts';
import type { FeedSource } from '../../src/passes/pass.ts';
import { quantizeWeights } from '../../src/passes/quantize/weights-only/quantize-weights.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import { passContext } from '../pass-context.ts';

const BATCH = 16;

/** Every algorithm at 4 bits on one network, and files of other tools, by the mean negative log-likelihood of the next token. */
export async function compare(folder: string, peers: readonly string[], samples: number): Promise<void> {
  const runtime = createRuntime(folder);
  const path = join(folder, 'llama.onnx');
  const inputs = (await loadModel(path)).graph.inputs;
  const opened: Dataset[] = [];
  const open = async (role: string): Promise<Dataset> => {
    const dataset = await openDataset(join(folder, `${role}.npz`));
    opened.push(dataset);
    return dataset;
  };
  const feedsOf = async (role: 'calibration' | 'evaluation', count?: number): Promise<FeedSource> =>
    bindFeeds(
      await open(role),
      {
        role,
        inputs: { ids: 'ids' },
        ...(role === 'evaluation' ? { labels: 'targets' } : {}),
        ...(count === undefined ? {} : { samples: count }),
      },
      inputs,
    );
  const evaluation = await feedsOf('evaluation', samples);
  const context = passContext({ runtime, data: { calibration: await feedsOf('calibration') } });
  const say = async (name: string, model: Model | { readonly path: string }, bytes: number): Promise<number> => {
    const nll = await lossOf(model);
    console.log(
      `${name.padEnd(32)} ${String(bytes).padStart(9)} bytes  NLL ${nll.toFixed(4)}  ${(nll - float).toFixed(4)}`,
    );
    return nll;
  };
  const lossOf = async (model: Model | { readonly path: string }): Promise<number> => {
    const session = await runtime.createSession(model, { threads: 1 });
    try {
      let [loss, count] = [0, 0];
      for await (const { feeds, labels } of evaluation.batches(BATCH)) {
        const [logits] = (await session.run(feeds)).values();
        const targets = defined(labels, 'targets').data as BigInt64Array;
        const values = logits?.data as Float32Array;
        const classes = values.length / targets.length;
        for (let i = 0; i < targets.length; i += 1) loss += surprise(values, i * classes, classes, Number(targets[i]));
        count += targets.length;
      }
      return loss / count;
    } finally {
      await session.release();
    }
  };
  let float = 0;
  float = await lossOf({ path });
  await say('float', { path }, statSync(path).size);
  for (const peer of peers) await say(peer.slice(peer.lastIndexOf('/') + 1), { path: peer }, statSync(peer).size);
  for (const symmetric of [false, true]) {
    for (const algorithm of ['rtn', 'k-quant', 'hqq', 'gptq', 'awq'] as const) {
      if (symmetric && algorithm === 'hqq') continue;
      const model = await loadModel(path);
      // The embedding stays, as other tools leave it by default.
      const options = quantizeWeights.options.parse({ algorithm, symmetric, exclude: ['Gather'] });
      await runStep(model, { pass: quantizeWeights, options }, context);
      const result = join(folder, `tersor-${algorithm}${symmetric ? '-symmetric' : ''}.onnx`);
      const { files } = await writeModel(model, result);
      await say(`tersor ${algorithm}${symmetric ? ' symmetric' : ''}`, { path: result }, files[0]?.bytes ?? 0);
    }
  }
  for (const dataset of opened) await dataset.close();
}

/** Negative logarithm of the probability of one class, in nats. */
function surprise(logits: Float32Array, from: number, classes: number, target: number): number {
  let max = -Infinity;
  for (let c = 0; c < classes; c += 1) max = Math.max(max, logits[from + c] ?? 0);
  let sum = 0;
  for (let c = 0; c < classes; c += 1) sum += Math.exp((logits[from + c] ?? 0) - max);
  return Math.log(sum) + max - (logits[from + target] ?? 0);
}
