import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { checkLayers } from '../../bench/weight-only/check-layers.ts';
import type { StreamResult } from '../../bench/weight-only/stream.ts';
import { shapeOfBytes, writeTransformer } from '../../bench/weight-only/transformer.ts';
import { createRuntime } from '../../src/runtime/onnxruntime.ts';

// Needs 6 GB of free disk: `node test/run.mjs large`. `TMPDIR` says where.
const folder = mkdtempSync(join(tmpdir(), 'large-weights-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('weights of a model over 2 GiB', () => {
  it('become 4-bit from external data to external data in constant memory, and the layers compute what they should', async () => {
    const path = await writeTransformer(folder, shapeOfBytes(2.6e9));
    rmSync(join(folder, 'source.bin'));
    const target = join(folder, 'result', 'model.onnx');
    const args = ['--import', 'tsx', 'bench/weight-only/stream.ts', 'quantize', path, target, '{}'];
    const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    const { peakBytes } = JSON.parse(stdout) as StreamResult;
    assert.ok(peakBytes < 600e6, `peak memory ${peakBytes} bytes`);
    for (const { layer, difference } of await checkLayers(
      path,
      target,
      ['0.q', '3.up', '3.down'],
      createRuntime(folder),
    )) {
      // float32 sums of up to 5504 products.
      assert.ok(difference < 1e-5, `${layer} differs by ${difference}`);
    }
  });

  // Searches take minutes for a billion of weights: a model larger than the limit shows as much.
  for (const algorithm of ['k-quant', 'hqq'] as const) {
    it(`${algorithm} takes no more memory than its stripes`, async () => {
      const own = join(folder, algorithm);
      mkdirSync(own);
      const path = await writeTransformer(own, shapeOfBytes(0.6e9));
      const bytes = readdirSync(own).reduce((sum, name) => sum + statSync(join(own, name)).size, 0);
      assert.ok(bytes > 0.55e9, `${bytes} bytes`);
      const target = join(own, 'result', 'model.onnx');
      const options = JSON.stringify({ algorithm });
      const args = ['--import', 'tsx', 'bench/weight-only/stream.ts', 'quantize', path, target, options];
      const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
      const { peakBytes } = JSON.parse(stdout) as StreamResult;
      assert.ok(peakBytes < 450e6, `peak memory ${peakBytes} bytes`);
    });
  }
});
