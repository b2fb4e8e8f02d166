import assert from 'node:assert/strict';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { TensorProto_DataLocation } from 'onnx-buf';
import { externalFileAt } from '../../src/onnx/codec/external-file.ts';
import { loadModel } from '../../src/onnx/codec/load.ts';
import { writeModel } from '../../src/onnx/codec/write.ts';
import { Graph } from '../../src/onnx/graph.ts';
import { Model } from '../../src/onnx/model.ts';
import { makeNode } from '../../src/onnx/node.ts';
import { Tensor, type ExternalFile } from '../../src/onnx/tensor.ts';
import { tensorValue } from '../../src/onnx/value-type.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';
import { modelBytes } from '../onnx/codec/protos.ts';

// Needs 5 GB of free disk: `node test/run.mjs large`. `TMPDIR` says where.
const folder = mkdtempSync(join(tmpdir(), 'large-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const GIB = 2 ** 30;
/** Peak memory that a whole run may add, whatever the model's size: chunks of 4 MiB, and what V8 leaves lying. */
const MEMORY_BUDGET_BYTES = 256 * 2 ** 20;

/** A file of this size, sparse on disk but for 16 marked bytes at its start and its end. */
function sparseFile(name: string, byteLength: number): ExternalFile {
  const descriptor = openSync(join(folder, name), 'w+');
  ftruncateSync(descriptor, byteLength);
  writeSync(descriptor, new Uint8Array(16).fill(0x11), 0, 16, 0);
  writeSync(descriptor, new Uint8Array(16).fill(0x22), 0, 16, byteLength - 16);
  closeSync(descriptor);
  return externalFileAt(name, join(folder, name));
}

/** Bytes [offset, offset + 16) of a file. */
function bytesAt(path: string, offset: number): Uint8Array {
  const descriptor = openSync(path, 'r');
  const bytes = new Uint8Array(16);
  readSync(descriptor, bytes, 0, 16, offset);
  closeSync(descriptor);
  return bytes;
}

function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** y = the row of `big` that is asked for; `small` is the tensor that gets changed. */
function bigModel(file: ExternalFile): Model {
  const rows = file.byteLength / 4096;
  return new Model({
    irVersion: 10,
    opsetImports: new Map([['', 21]]),
    graph: new Graph({
      name: 'large',
      inputs: [tensorValue('row', 'int64', [1])],
      outputs: [tensorValue('y', 'uint8', [1, 4096])],
      initializers: new Map([
        [
          'big',
          new Tensor({
            name: 'big',
            dataType: 'uint8',
            dims: [rows, 4096],
            storage: { kind: 'external', file, offset: 0, byteLength: file.byteLength },
          }),
        ],
        ['small', Tensor.float('small', [1, 2, 3, 4])],
      ]),
      nodes: [makeNode('Gather', ['big', 'row'], ['y'])],
    }),
  });
}

describe('models over 2 GiB', () => {
  const byteLength = 2 * GIB + 4096 * 1024;

  it('are written with external data by themselves, loaded, changed, written and loaded again in constant memory', async () => {
    const before = peakBytes();
    const path = join(folder, 'big.onnx');
    const written = await writeModel(bigModel(sparseFile('source.bin', byteLength)), path);
    assert.deepEqual(
      written.files.map((file) => file.path),
      [path, join(folder, 'big.onnx.data')],
    );
    assert.equal(written.files[1]?.bytes, byteLength);

    const model = await loadModel(path);
    model.graph.initializers.set('small', Tensor.float('small', [5, 6, 7, 8]));
    const changed = join(folder, 'changed.onnx');
    await writeModel(model, changed, { externalData: { location: 'changed.data', thresholdBytes: 1024 } });

    const again = await loadModel(changed);
    assert.deepEqual(again.graph.initializers.get('small')?.floats(), Float32Array.of(5, 6, 7, 8));
    const { storage } = again.graph.initializers.get('big') ?? {};
    assert.ok(storage?.kind === 'external');
    assert.deepEqual(storage.file.read(0, 16), new Uint8Array(16).fill(0x11));
    assert.deepEqual(storage.file.read(byteLength - 16, 16), new Uint8Array(16).fill(0x22));
    const data = join(folder, 'changed.data');
    assert.equal(statSync(data).size, byteLength);
    assert.deepEqual(bytesAt(data, 16), new Uint8Array(16));

    const used = peakBytes() - before;
    assert.ok(used < MEMORY_BUDGET_BYTES, `peak memory grew by ${used} bytes`);
  });

  it('run in ONNX Runtime from their files', async () => {
    const session = await createRuntime(folder).createSession({ path: join(folder, 'changed.onnx') }, { threads: 1 });
    const last = BigInt(byteLength / 4096 - 1);
    const results = await session.run({ row: { type: 'int64', dims: [1], data: BigInt64Array.of(last) } });
    await session.release();
    const row = results.get('y')?.data as Uint8Array;
    assert.deepEqual(row.slice(-16), new Uint8Array(16).fill(0x22));
  });
});

describe('external data over 4 GiB', () => {
  it('is read at offsets past 2^32', async () => {
    const byteLength = 4 * GIB + 8192;
    sparseFile('wide.bin', byteLength);
    const externalData = [
      { key: 'location', value: 'wide.bin' },
      { key: 'offset', value: String(byteLength - 4096) },
    ];
    const path = join(folder, 'wide.onnx');
    const dataLocation = TensorProto_DataLocation.EXTERNAL;
    writeFileSync(
      path,
      modelBytes({ initializer: [{ name: 'end', dims: [4096n], dataType: 2, dataLocation, externalData }] }),
    );
    const tensor = (await loadModel(path)).graph.initializers.get('end');
    assert.ok(tensor !== undefined);
    assert.deepEqual(tensor.bytes().slice(-16), new Uint8Array(16).fill(0x22));
  });
});
