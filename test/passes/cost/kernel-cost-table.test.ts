import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  KernelCostTableSchema,
  emptyCostTable,
  makeCostTable,
  type KernelCost,
} from '../../../src/passes/cost/kernel-cost-table.ts';
import { KERNEL_BENCHMARKS, KERNELS, measureBenchmarks } from '../../../src/passes/cost/kernel-benchmarks.ts';
import { createRuntime } from '../../../src/runtime/onnxruntime.ts';

const entry: KernelCost = { kernel: 'conv', shape: [8, 72, 784], work: 451584, floatNs: 12343, int8Ns: 14850 };
const parts = { cpuKind: 'x64 test', runtimeVersion: 'test', threads: 1 };

describe('kernel cost table', () => {
  it('survives storage, and its hash follows its content', () => {
    const table = makeCostTable({ ...parts, entries: [entry] });
    assert.deepEqual(KernelCostTableSchema.parse(JSON.parse(JSON.stringify(table))), table);
    assert.notEqual(makeCostTable({ ...parts, entries: [{ ...entry, int8Ns: 1 }] }).hash, table.hash);
    assert.equal(makeCostTable({ ...parts, entries: [entry] }).hash, table.hash);
  });

  it('refuses a table whose numbers were changed', () => {
    const table = makeCostTable({ ...parts, entries: [entry] });
    assert.ok(!KernelCostTableSchema.safeParse({ ...table, entries: [{ ...entry, floatNs: 1 }] }).success);
  });

  it('names the block of the convolutions, and reads tables from before they did', () => {
    const table = makeCostTable({ ...parts, convolutionBlock: 16, entries: [entry] });
    assert.deepEqual(KernelCostTableSchema.parse(JSON.parse(JSON.stringify(table))), table);
    assert.notEqual(makeCostTable({ ...parts, convolutionBlock: 8, entries: [entry] }).hash, table.hash);
    // Of a table that was stored without: sha256 of ["x64 test","test",1,[["conv",[8,72,784],451584,12343,14850]]].
    const stored = 'ac7f54335223850b79fc0d1b7f95400ba193ecdb1d0241df871d0d10185fa359';
    assert.ok(KernelCostTableSchema.safeParse({ ...parts, entries: [entry], hash: stored }).success);
  });

  it('has an empty form that claims nothing', () => assert.deepEqual(emptyCostTable().entries, []));
});

describe('kernel benchmarks', () => {
  it('cover every kernel', () => {
    assert.deepEqual(new Set(KERNEL_BENCHMARKS.map(({ kernel }) => kernel)), new Set(KERNELS));
  });

  it('load and run in ONNX Runtime, one of each kernel, in every form', async () => {
    const first = KERNELS.map((kernel) => KERNEL_BENCHMARKS.find((benchmark) => benchmark.kernel === kernel)!);
    const costs = await measureBenchmarks(createRuntime('.'), first, 1);
    assert.deepEqual(
      costs.map(({ kernel }) => kernel),
      [...KERNELS],
    );
    const onlyFloat = new Set(first.filter(({ int8 }) => int8 === undefined).map(({ kernel }) => kernel));
    assert.deepEqual([...onlyFloat], ['reorder']);
    for (const { kernel, floatNs, int8Ns } of costs) {
      if (onlyFloat.has(kernel)) assert.ok(floatNs >= 1 && int8Ns === 0, kernel);
      else assert.ok(int8Ns >= 1, kernel);
    }
  });
});
