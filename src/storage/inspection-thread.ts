import { readFileSync, statSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { describeDataset } from '../data/open-dataset.ts';
import { CompressionError, messageOf } from '../errors.ts';
import { decodeModel } from '../onnx/codec/decode.ts';
import { externalFileAt } from '../onnx/codec/external-file.ts';
import { MAX_PROTOBUF_BYTES } from '../onnx/codec/limits.ts';
import { repairModel } from '../onnx/verify/repair-model.ts';
import { verifyModel } from '../onnx/verify/verify-model.ts';
import type { InspectionReply, InspectionTask } from './inspection.ts';
import { summarize } from './model-summary.ts';

async function inspect(task: InspectionTask): Promise<InspectionReply> {
  if (task.kind === 'dataset') {
    const { kind, samples, arrays, classes } = await describeDataset(task.path);
    return {
      kind: 'dataset',
      summary: {
        kind,
        samples,
        ...(arrays === undefined ? {} : { arrays: arrays.map((array) => ({ ...array, shape: [...array.shape] })) }),
        ...(classes === undefined ? {} : { classes: [...classes] }),
      },
    };
  }
  const { size } = statSync(task.path);
  if (size > MAX_PROTOBUF_BYTES)
    throw new CompressionError(
      'LIMIT_SIZE',
      `the model file has ${size} bytes, protobuf ends at ${MAX_PROTOBUF_BYTES}; move its weights to external data`,
    );
  const files = new Map(task.external);
  const used = new Set<string>();
  const model = decodeModel(readFileSync(task.path), {
    external(location) {
      const path = files.get(location);
      if (path === undefined)
        throw new CompressionError(
          'MODEL_EXTERNAL_DATA',
          `the model keeps tensors in "${location}", which was not uploaded; send it as a multipart part named external with this file name`,
        );
      used.add(location);
      return externalFileAt(location, path);
    },
  });
  for (const location of files.keys())
    if (!used.has(location))
      throw new CompressionError(
        'MODEL_EXTERNAL_DATA',
        `"${location}" was uploaded, but no tensor of the model lies in it`,
      );
  repairModel(model);
  verifyModel(model);
  return { kind: 'model', summary: summarize(model) };
}

const port = parentPort;
if (port === null) throw new Error('inspection-thread runs as a worker thread only');
port.on('message', (task: InspectionTask) => {
  inspect(task)
    .catch((error: unknown): InspectionReply => {
      const code = error instanceof CompressionError ? error.code : 'INTERNAL';
      return { kind: 'error', code, message: messageOf(error) };
    })
    .then((reply) => port.postMessage(reply))
    .catch((error: unknown) => {
      throw error;
    });
});
