/**
 * A process that makes training steps when told to: `steps.ts NETWORK THREADS [PROFILE_PREFIX]`. For every line `N` on its
 * standard input it makes N steps and answers with a line of JSON: their times and the peak memory so far. It has a process of
 * its own so that its memory is its own, and answers only on demand so that two engines can take turns.
 */
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import type { NdArray } from '../../src/onnx/nd-array.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import type { Runtime } from '../../src/runtime/session.ts';
import { taskLoss } from '../../src/training/losses/task-loss.ts';
import { optimizerScalars } from '../../src/training/optimizers/optimizers.ts';
import { separateVectors } from '../../src/training/parameters.ts';
import { StepRunner } from '../../src/training/step-runner.ts';
import { buildTrainingGraph } from '../../src/training/training-graph.ts';
import { buildArchitecture } from '../../src/zoo/build-architecture.ts';
import { NETWORKS } from './networks.ts';

const OPTIMIZER = { name: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 5e-4 } as const;

const [name, threads = '2', profilePrefix] = process.argv.slice(2);
const network = NETWORKS.find((candidate) => candidate.name === name);
if (network === undefined) throw new Error(`no network "${name ?? ''}"`);
const { batchSize, size, classes } = network;

const model = buildArchitecture(network.request, 1);
separateVectors(model.graph);
const graph = buildTrainingGraph(model, {
  batchSize,
  loss: taskLoss({ name: 'cross-entropy', labelSmoothing: 0 }, 'index'),
  optimizer: OPTIMIZER,
  average: false,
  batchNormalization: 'train',
  decayExempt: [],
  accumulate: 1,
});
const random = new SeededRandom(1);
const [input] = graph.dataInputs;
const [labels] = graph.lossInputs;
if (input === undefined || labels === undefined) throw new Error('the step has no inputs');
const batch: Record<string, NdArray> = {
  [input.name]: {
    type: 'float',
    dims: [batchSize, 3, size, size],
    data: Float32Array.from({ length: batchSize * 3 * size * size }, () => random.normal()),
  },
  [labels.name]: {
    type: 'int64',
    dims: [batchSize],
    data: BigInt64Array.from({ length: batchSize }, () => BigInt(Math.floor(random.uniform() * classes))),
  },
};

const plain = createRuntime(tmpdir());
const runtime: Runtime =
  profilePrefix === undefined
    ? plain
    : {
        ...plain,
        createSession: async (source, options) => {
          const session = await plain.createSession(source, { ...options, profilePrefix });
          const release = async (): Promise<void> => {
            session.endProfiling();
            await session.release();
          };
          return { ...session, release };
        },
      };
const settings = { scalars: optimizerScalars(OPTIMIZER), accumulate: 1, averageDecay: undefined };
const runner = await StepRunner.create(graph, settings, { runtime, threads: Number(threads) });

let updates = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const times: number[] = [];
  for (let step = 0; step < Number(line); step += 1) {
    const start = performance.now();
    await runner.run(batch, { updates, batchInGroup: 0, learningRate: 0.05 });
    times.push(performance.now() - start);
    updates += 1;
  }
  console.log(JSON.stringify({ times, peakMb: process.resourceUsage().maxRSS / 1024 }));
}
await runner.release();
