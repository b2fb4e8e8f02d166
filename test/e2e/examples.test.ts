import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

const EXAMPLE = 'examples/fashion-mnist';

function run(script: string, ...args: string[]): string {
  return execFileSync(process.execPath, ['--import', 'tsx', `${EXAMPLE}/${script}`, ...args], { encoding: 'utf8' });
}

describe('the examples', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tersor-example-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('npm run demo: quantizes, and prints size, accuracy and latency', () => {
    const text = run('demo.ts');
    assert.match(text, /^bytes +\d+ +\d+$/m);
    assert.match(text, /^top-1 \(95 %\) +9\d\.\d\d % .* 9\d\.\d\d %/m);
    assert.match(text, /^verdict +met$/m);
  });

  it('npm run demo -- distill: student alone, student taught, teacher', () => {
    const text = run('demo.ts', 'distill', '--epochs', '2');
    for (const who of ['teacher', 'student alone', 'student taught'])
      assert.match(text, new RegExp(`^${who} +\\d+\\.\\d\\d % +\\d+ +\\d+ +\\d+\\.\\d+ ms$`, 'm'), text);
    assert.match(text, /^teaching +(helped|hurt|inconclusive): -?\d+\.\d\d points/m);
  });

  it('npm run example:train: the same bytes on a rerun', () => {
    const shas = ['a', 'b'].map((name) => {
      const output = join(folder, `${name}.onnx`);
      return /^sha256 +([0-9a-f]{64})$/m.exec(
        run('train.ts', `${EXAMPLE}/calibration.npz`, '--epochs', '1', '--output', output),
      )?.[1];
    });
    assert.equal(shas[0]?.length, 64);
    assert.equal(shas[0], shas[1]);
  });

  it('npm run example:train says what is missing', () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      ['--import', 'tsx', `${EXAMPLE}/train.ts`, join(folder, 'nowhere')],
      { encoding: 'utf8' },
    );
    assert.equal(status, 2);
    assert.match(stderr, /There is no .*nowhere[^]*train-images-idx3-ubyte\.gz/);
  });
});
