import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError } from '../../../src/errors.ts';
import { makeNode } from '../../../src/onnx/node.ts';
import { filterNodes, matchesGlob } from '../../../src/passes/quantize/node-filter.ts';

describe('matchesGlob', () => {
  it('knows * and ?', () => {
    assert.ok(matchesGlob('layer*.conv?', 'layer1/block.conv2'));
    assert.ok(matchesGlob('*', ''));
    assert.ok(matchesGlob('a*b*c', 'a__b_bc'));
    assert.ok(!matchesGlob('a*b', 'a_c'));
    assert.ok(!matchesGlob('conv?', 'conv'));
  });

  it('takes characters of regular expressions as they are', () => {
    assert.ok(matchesGlob('a.b', 'a.b'));
    assert.ok(!matchesGlob('a.b', 'axb'));
    assert.ok(!matchesGlob('(a+)+', 'aaa'));
  });

  it('is quick where a backtracking matcher hangs', () => {
    const started = performance.now();
    assert.ok(!matchesGlob('*a'.repeat(30) + 'b', 'a'.repeat(20_000)));
    assert.ok(performance.now() - started < 2000);
  });
});

describe('filterNodes', () => {
  const conv = makeNode('Conv', ['x', 'w'], ['c'], { name: 'stem' });
  const relu = makeNode('Relu', ['c'], ['r']);
  const gemm = makeNode('Gemm', ['r', 'v'], ['y'], { name: 'head' });
  const nodes = [conv, relu, gemm];

  it('keeps all without include and exclude', () => {
    assert.deepEqual([...filterNodes(nodes, { exclude: [] })], nodes);
  });

  it('goes by name, by operator type, and by output where there is no name', () => {
    assert.deepEqual([...filterNodes(nodes, { exclude: ['st*', 'r'] })], [gemm]);
    assert.deepEqual([...filterNodes(nodes, { include: ['Conv', 'Gemm'], exclude: ['head'] })], [conv]);
  });

  it('refuses a glob that matches nothing, and names what there is', () => {
    assert.throws(
      () => filterNodes(nodes, { exclude: ['layer4.*'] }),
      (error) =>
        error instanceof CompressionError &&
        error.code === 'RECIPE_NO_MATCH' &&
        error.message.includes('stem, r, head'),
    );
  });
});
