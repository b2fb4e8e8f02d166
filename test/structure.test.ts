import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, it } from 'node:test';

/** Every file that loading `entry` loads: static imports only, types left out (they are erased). */
function loadedBy(entry: string): Set<string> {
  const loaded = new Set<string>();
  const visit = (file: string): void => {
    if (loaded.has(file)) return;
    loaded.add(file);
    const source = readFileSync(file, 'utf8');
    for (const [, clause, target] of source.matchAll(
      /^(?:import|export)\s+([^'";]*?)\s*(?:from\s*)?'(\.[^']+)';$/gms,
    )) {
      if (clause?.startsWith('type ') === true || target === undefined) continue;
      const path = relative('.', join(dirname(file), target));
      if (existsSync(path)) visit(path);
    }
  };
  visit(entry);
  return loaded;
}

describe('what a process loads', () => {
  for (const entry of ['src/app.ts', 'src/service.ts', 'workers/main.ts'])
    it(`${entry} loads neither ONNX Runtime nor the training engine`, () => {
      const loaded = [...loadedBy(entry)];
      assert.ok(loaded.length > 30, 'imports were followed');
      const engine =
        /^src\/runtime\/|^src\/training\/(?:finetune|trainer|differentiate|training-graph|gradients|losses|optimizers)/;
      assert.deepEqual(
        loaded.filter((file) => engine.test(file)),
        [],
      );
    });

  it('a pass that trains loads the engine when it runs, and the job child loads ONNX Runtime', () => {
    assert.ok(loadedBy('src/app.ts').has('src/passes/train/finetune.ts'));
    assert.ok(loadedBy('src/training/finetune.ts').has('src/training/trainer.ts'));
    assert.ok(loadedBy('workers/job-child.ts').has('src/runtime/onnxruntime.ts'));
  });
});
