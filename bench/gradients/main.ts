/**
 * `npm run bench -- gradients [--repeats 9] [--threads 2] [--spinning] [N,C,M,H,k,s,g ...]`: the time of each way to compute
 * dX and dW of a convolution, in turns, median ms, next to its forward pass. `src/training/gradients/convolution-cost.ts`
 * has its constants from here.
 */
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { SeededRandom } from '../../src/data/seeded-random.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { elementCount, type NdArray } from '../../src/onnx/nd-array.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import type { Session } from '../../src/runtime/session.ts';
import {
  inputFormulation,
  inputFormulations,
  weightFormulation,
  weightFormulations,
  type ConvShape,
} from '../../src/training/gradients/convolution-cost.ts';
import { INPUT_FORMULATIONS, WEIGHT_FORMULATIONS } from '../../src/training/gradients/convolution.ts';
import { GradientBuilder } from '../../src/training/gradients/gradient-builder.ts';
import { StaticTypes } from '../../src/training/static-types.ts';

/** Layers of the networks one trains: CIFAR ResNets and MobileNets at batch 64, ImageNet layers at batch 16. */
const DEFAULT_CASES = [
  '64,3,16,32,3,1,1',
  '64,16,16,32,3,1,1',
  '64,16,32,32,3,2,1',
  '64,32,32,16,3,1,1',
  '64,64,64,8,3,1,1',
  '64,32,64,16,1,2,1',
  '16,64,64,56,3,1,1',
  '16,3,64,224,7,2,1',
  '16,256,256,14,3,1,1',
  '32,64,128,28,1,1,1',
  '64,96,96,32,3,1,96',
  '64,144,144,16,3,2,144',
  '64,240,240,8,1,1,3',
];

const runtime = createRuntime(tmpdir());

interface Candidate {
  readonly label: string;
  readonly session: Session;
  readonly feeds: Record<string, NdArray>;
}

export async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      repeats: { type: 'string', default: '9' },
      threads: { type: 'string', default: '2' },
      spinning: { type: 'boolean', default: false },
    },
  });
  const options = { threads: Number(values.threads), spinning: values.spinning };
  console.log('N,C,M,H,k,s,g: median ms of each way, * the one chosen');
  for (const text of positionals.length > 0 ? positionals : DEFAULT_CASES) {
    const conv = convOf(text);
    const candidates = await candidatesOf(conv, options);
    const times = await measure(candidates, Number(values.repeats));
    const chosen = new Set([`dX ${inputFormulation(conv)}`, `dW ${weightFormulation(conv)}`]);
    const cells = candidates.map(
      ({ label }, index) => `${label}${chosen.has(label) ? '*' : ''} ${(times[index] ?? 0).toFixed(1)}`,
    );
    console.log(`${text}: ${cells.join(' | ')}`);
    for (const { session } of candidates) await session.release();
  }
}

function convOf(text: string): ConvShape {
  const [batch = 1, channels = 1, maps = 1, size = 1, kernel = 1, stride = 1, group = 1] = text.split(',').map(Number);
  const pad = Math.floor(kernel / 2);
  const output = Math.floor((size + 2 * pad - kernel) / stride) + 1;
  const pair = (value: number): number[] => [value, value];
  return {
    batch,
    channels,
    maps,
    group,
    input: pair(size),
    output: pair(output),
    kernel: pair(kernel),
    strides: pair(stride),
    dilations: pair(1),
    padsBefore: pair(pad),
    padsBehind: pair(pad),
  };
}

async function candidatesOf(
  conv: ConvShape,
  options: { readonly threads: number; readonly spinning: boolean },
): Promise<Candidate[]> {
  const shapes = {
    X: [conv.batch, conv.channels, ...conv.input],
    W: [conv.maps, conv.channels / conv.group, ...conv.kernel],
    dY: [conv.batch, conv.maps, ...conv.output],
  };
  const random = new SeededRandom(1);
  const feeds = Object.fromEntries(
    Object.entries(shapes).map(([name, dims]): [string, NdArray] => [
      name,
      { type: 'float', dims, data: Float32Array.from({ length: elementCount(dims) }, () => random.normal()) },
    ]),
  );
  /** The result is reduced to one number, so that its copy out of the session does not count. */
  const candidate = async (
    label: string,
    inputs: readonly (keyof typeof shapes)[],
    write: (b: GradientBuilder) => string,
  ): Promise<Candidate> => {
    const graph = new GraphBuilder('bench');
    for (const name of inputs) graph.input(name, 'float', shapes[name]);
    const model = graph.model(21, { 'com.microsoft': 1 });
    const value = write(new GradientBuilder(graph, new StaticTypes(model)));
    const corner = graph.op('Slice', [
      graph.op('Reshape', [value, graph.ints('flat', [-1])]),
      graph.ints('start', [0]),
      graph.ints('end', [1]),
    ]);
    graph.output(corner, 'result', 'float', [1]);
    const own = Object.fromEntries(inputs.map((name): [string, NdArray] => [name, feeds[name] ?? missing(name)]));
    return { label, session: await runtime.createSession(model, options), feeds: own };
  };
  const attributes = {
    strides: conv.strides,
    pads: [...conv.padsBefore, ...conv.padsBehind],
    group: conv.group,
  };
  const candidates = [await candidate('forward', ['X', 'W'], (b) => b.op('Conv', ['X', 'W'], attributes))];
  for (const way of inputFormulations(conv)) {
    candidates.push(await candidate(`dX ${way}`, ['W', 'dY'], (b) => INPUT_FORMULATIONS[way](b, conv, 'W', 'dY')));
  }
  for (const way of weightFormulations(conv)) {
    candidates.push(await candidate(`dW ${way}`, ['X', 'dY'], (b) => WEIGHT_FORMULATIONS[way](b, conv, 'X', 'dY')));
  }
  return candidates;
}

function missing(name: string): never {
  throw new Error(`no feed ${name}`);
}

/** Median ms of each candidate, measured in turns so that a busy moment of the machine hits all of them. */
async function measure(candidates: readonly Candidate[], repeats: number): Promise<number[]> {
  const times = candidates.map((): number[] => []);
  for (let round = -1; round < repeats; round += 1) {
    for (const [index, { session, feeds }] of candidates.entries()) {
      const start = performance.now();
      await session.run(feeds);
      // The first round warms up.
      if (round >= 0) times[index]?.push(performance.now() - start);
    }
  }
  return times.map((list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0);
}
