import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { ModelProtoSchema, TensorProto_DataLocation, TrainingInfoProtoSchema } from 'onnx-buf';
import { CompressionError, type ErrorCode } from '../../../src/errors.ts';
import { decodeModel } from '../../../src/onnx/codec/decode.ts';
import { folderFiles } from '../../../src/onnx/codec/external-file.ts';
import { loadModel } from '../../../src/onnx/codec/load.ts';
import { modelBytes, modelProto } from './protos.ts';

const folder = mkdtempSync(join(tmpdir(), 'external-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const data = Float32Array.from({ length: 64 }, (_, index) => index);
writeFileSync(join(folder, 'weights.bin'), data);
mkdirSync(join(folder, 'sub'));
writeFileSync(join(folder, 'sub', 'weights.bin'), data);

/** A model with one float [4] tensor whose external_data has these entries. */
function modelWith(entries: Record<string, string>): Uint8Array {
  return modelBytes({
    initializer: [
      {
        name: 'w',
        dims: [4n],
        dataType: 1,
        dataLocation: TensorProto_DataLocation.EXTERNAL,
        externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
      },
    ],
  });
}

function refuses(run: () => unknown, message: RegExp, code: ErrorCode = 'MODEL_EXTERNAL_DATA'): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof CompressionError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}

describe('external data', () => {
  it('is read by range, when it is asked for', () => {
    const model = decodeModel(modelWith({ location: 'weights.bin', offset: '32', length: '16' }), {
      external: folderFiles(folder),
    });
    const tensor = model.graph.initializers.get('w');
    assert.equal(tensor?.storage.kind, 'external');
    assert.deepEqual(tensor.floats(), Float32Array.of(8, 9, 10, 11));
  });

  it('takes the size from the dims when length is absent, and looks into folders', () => {
    const bytes = modelWith({ location: 'sub/weights.bin', checksum: 'da39a3ee' });
    const model = decodeModel(bytes, { external: folderFiles(folder) });
    assert.deepEqual(model.graph.initializers.get('w')?.floats(), Float32Array.of(0, 1, 2, 3));
  });

  const never = (): never => assert.fail('the resolver must not be asked');
  const refused: [string, Record<string, string>, RegExp][] = [
    ['../x', { location: '../x' }, /"\.\." part/],
    ['sub/../../x', { location: 'sub/../../x' }, /"\.\." part/],
    ['/etc/passwd', { location: '/etc/passwd' }, /absolute/],
    ['/dev/zero', { location: '/dev/zero' }, /absolute/],
    ['C:\\x', { location: 'C:/x' }, /absolute/],
    ['a backslash', { location: '..\\x' }, /backslash/],
    ['a memory address', { location: '*/_ORT_MEM_ADDR_/*' }, /memory addresses/],
    ['a NUL', { location: 'weights.bin\0.txt' }, /control characters/],
    ['no location', { offset: '0' }, /is empty/],
    ['offset -64', { location: 'weights.bin', offset: '-64' }, /offset "-64"/],
    ['offset 1e3', { location: 'weights.bin', offset: '1e3' }, /offset "1e3"/],
    ['length 2^50', { location: 'weights.bin', length: String(2 ** 50) }, /needs 16 bytes/],
    ['length 2^70', { location: 'weights.bin', length: String(2n ** 70n) }, /length/],
    ['key __class__', { location: 'weights.bin', __class__: 'x' }, /key "__class__" is unknown/],
  ];
  for (const [name, entries, message] of refused) {
    it(`${name}: refused before any file is touched`, () => {
      refuses(() => decodeModel(modelWith(entries), { external: never }), message);
    });
  }

  it('offset 2^40: outside the file', () => {
    const bytes = modelWith({ location: 'weights.bin', offset: String(2 ** 40) });
    refuses(() => decodeModel(bytes, { external: folderFiles(folder) }), /outside "weights\.bin" \(256 bytes\)/);
  });

  it('a key twice: refused', () => {
    const proto = { key: 'location', value: 'weights.bin' };
    const tensor = { name: 'w', dims: [], dataType: 1, dataLocation: TensorProto_DataLocation.EXTERNAL };
    const bytes = modelBytes({ initializer: [{ ...tensor, externalData: [proto, proto] }] });
    refuses(() => decodeModel(bytes, { external: never }), /twice/);
  });

  it('without a resolver: names the missing file', () => {
    refuses(() => decodeModel(modelWith({ location: 'weights.bin' })), /"weights\.bin", which was not given/);
  });

  it('in sparse tensors is read in, so that their bytes stand alone', () => {
    const values = {
      name: 's',
      dims: [2n],
      dataType: 1,
      dataLocation: TensorProto_DataLocation.EXTERNAL,
      externalData: [{ key: 'location', value: 'weights.bin' }],
    };
    const indices = { dims: [2n], dataType: 7, rawData: new Uint8Array(16) };
    const bytes = modelBytes({ sparseInitializer: [{ values, indices, dims: [9n] }] });
    const kept = decodeModel(bytes, { external: folderFiles(folder) }).graph.sparseInitializers.get('s');
    assert.ok(kept !== undefined && Buffer.from(kept).includes(Buffer.from(data.buffer, 0, 8)));
    assert.ok(!Buffer.from(kept).includes('weights.bin'));
  });

  it('in training_info: refused', () => {
    const proto = modelProto({});
    const tensor = { dims: [1n], dataType: 1, dataLocation: TensorProto_DataLocation.EXTERNAL };
    proto.trainingInfo = [create(TrainingInfoProtoSchema, { algorithm: { name: 'step', initializer: [tensor] } })];
    const bytes = toBinary(ModelProtoSchema, proto);
    refuses(() => decodeModel(bytes), /training_info/, 'MODEL_UNSUPPORTED');
  });
});

describe('folderFiles', () => {
  const files = folderFiles(folder);

  it('refuses symbolic links, also on the way', () => {
    symlinkSync('weights.bin', join(folder, 'link'));
    symlinkSync('sub', join(folder, 'linked'));
    refuses(() => files('link'), /symbolic link/);
    refuses(() => files('linked/weights.bin'), /symbolic link/);
  });

  it('refuses hard links', () => {
    writeFileSync(join(folder, 'secret'), data);
    linkSync(join(folder, 'secret'), join(folder, 'hard'));
    refuses(() => files('hard'), /hard link/);
  });

  it('refuses folders, pipes and missing files, without waiting', () => {
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    refuses(() => files('pipe'), /not a regular file/);
    refuses(() => files('sub'), /not a regular file/);
    refuses(() => files('absent'), /does not exist/);
    refuses(() => files('weights.bin/x'), /passes through a file/);
  });

  it('refuses what was not uploaded', () => {
    const allowed = folderFiles(folder, ['other.bin']);
    refuses(() => allowed('weights.bin'), /not uploaded.*other\.bin/);
  });

  it('notices that a file was exchanged after loading', () => {
    const path = join(folder, 'exchanged');
    writeFileSync(path, data);
    const file = files('exchanged');
    assert.equal(file.read(4, 4).byteLength, 4);
    writeFileSync(`${path}.new`, data);
    renameSync(`${path}.new`, path);
    refuses(() => file.read(4, 4), /changed since/);
    rmSync(path);
    symlinkSync('weights.bin', path);
    refuses(() => file.read(4, 4), /cannot be opened/);
  });

  it('is what loadModel uses: the files beside the model, not those of the working directory', async () => {
    const path = join(folder, 'model.onnx');
    // package.json lies in the working directory of the tests.
    writeFileSync(path, modelWith({ location: 'package.json' }));
    await assert.rejects(loadModel(path), /does not exist beside the model/);
    writeFileSync(path, modelWith({ location: 'weights.bin' }));
    assert.deepEqual((await loadModel(path)).graph.initializers.get('w')?.floats(), Float32Array.of(0, 1, 2, 3));
    await assert.rejects(loadModel(path, { allowedExternal: [] }), /not uploaded/);
  });
});
