import { z } from 'zod';
import { setImmediate } from 'node:timers/promises';
import { opsetOf, type Model } from '../../../onnx/model.ts';
import { LARGEST } from '../../../numerics/float-formats.ts';
import { definePass, type PassContext, type PassResult, type Skipped } from '../../pass.ts';
import { TensorChunks } from '../weights-only/tensor-chunks.ts';
import { findFloats } from './find-floats.ts';
import { FloatWriter } from './float-writer.ts';
import { narrowTensor, type NarrowedTensor } from './narrow-tensor.ts';

const globs = z.array(z.string().min(1).max(256)).max(256);
const Options = z.strictObject({
  type: z
    .enum(['float16', 'bfloat16', 'float8e4m3fn'])
    .default('float16')
    .describe('Floating-point type that weights are stored in: half of their bytes, float8e4m3fn a quarter'),
  keepIo: z
    .literal(true)
    .default(true)
    .describe('Inputs and outputs stay float32: a step never changes the interface of a model'),
  include: globs
    .min(1)
    .optional()
    .describe('Only weights that these nodes or operator types read; * and ? are wildcards'),
  exclude: globs.default([]).describe('Nodes or operator types whose weights stay in float; * and ? are wildcards'),
});
type Options = z.output<typeof Options>;

/** Squared error, as a share of the squares, above which a tensor stays: 16-bit types lose about 1e-7 and 1e-5, float8 1e-3. */
const LARGEST_ERROR = 0.01;

/** Weights in a narrower floating-point type; what computes stays in float32. */
export const quantizeFloat = definePass({
  name: 'quantize.float',
  stage: 'quantize',
  description: 'Stores weights in float16, bfloat16 or float8; computes in float32 as before',
  papers: [
    { title: 'Micikevicius et al., Mixed Precision Training, ICLR 2018', url: 'https://arxiv.org/abs/1710.03740' },
    { title: 'Micikevicius et al., FP8 Formats for Deep Learning, 2022', url: 'https://arxiv.org/abs/2209.05433' },
  ],
  options: Options,
  example: { type: 'float16' },
  needs: () => [],
  requires(model, { type }) {
    // bfloat16 came to Cast with opset 13, float8 to DequantizeLinear with 19; ONNX Runtime runs it from 21 on.
    const needed = { float16: 9, bfloat16: 13, float8e4m3fn: 21 }[type];
    const opset = opsetOf(model);
    if (opset >= needed) return undefined;
    return `${type} needs opset ${needed}, the model has ${opset}; put { "pass": "canonicalize", "opset": ${needed} } ahead`;
  },
  run: storeNarrow,
  ensures: () => undefined,
});

async function storeNarrow(model: Model, options: Options, context: PassContext): Promise<PassResult> {
  const { type } = options;
  const { weights, skipped } = findFloats(model, {
    type,
    filter: { include: options.include, exclude: options.exclude },
  });
  const writer = new FloatWriter(model, type);
  const left: Skipped[] = [...skipped];
  const tensors: unknown[] = [];
  const warnings: string[] = [];
  for (const [index, weight] of weights.entries()) {
    // Between tensors the event loop runs, so that a cancel arrives.
    await setImmediate();
    context.signal.throwIfAborted();
    const { tensor, label } = weight;
    context.progress(index / weights.length, `storing ${tensor.name} in ${type}`);
    const narrowed = narrowTensor(tensor, type, new TensorChunks(context.spool));
    const reason = obstacle(narrowed, options);
    if (reason !== undefined) {
      left.push({ node: label, reason: `weight "${tensor.name}" ${reason}` });
      continue;
    }
    if (narrowed.clamped > 0) {
      warnings.push(
        `weight "${tensor.name}": ${narrowed.clamped} of ${tensor.elementCount} values lie beyond the largest of ${type} at the tensor's scale and became that`,
      );
    }
    writer.write(weight, narrowed);
    const { error, clamped, scale } = narrowed;
    tensors.push({
      weight: tensor.name,
      node: label,
      shape: tensor.dims,
      type,
      error,
      clamped,
      ...(type === 'float8e4m3fn' ? { scale } : {}),
    });
  }
  writer.finish();
  if (tensors.length > 0) {
    warnings.push(
      `${type} is how weights are stored: ONNX Runtime makes float32 of them when it loads the model, so memory and speed are those of the float model`,
    );
  }
  context.progress(1);
  return { changes: tensors.length, skipped: left, warnings, details: { type, tensors } };
}

function obstacle({ error, largest, isFinite }: NarrowedTensor, { type }: Options): string | undefined {
  if (!isFinite) return 'holds NaN or infinity';
  if (type !== 'float8e4m3fn' && largest > LARGEST[type]) {
    return `holds ${largest}, ${type} ends at ${LARGEST[type]}: it would become infinity`;
  }
  return error > LARGEST_ERROR
    ? `is too small for ${type}: rounding would lose ${(error * 100).toPrecision(3)} % of its squares`
    : undefined;
}
