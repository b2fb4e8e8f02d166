import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  dimensionsOf,
  examplesOf,
  expandLayers,
  layerPlacesOf,
  originOf,
  substitute,
  templateProblem,
} from '../../../src/passes/search/ranges.ts';

const problem = (template: unknown, allows?: { layers: boolean }) => {
  const found = templateProblem(template, () => dimensionsOf(expandLayers(template, () => ['*'])), allows);
  return found === undefined ? undefined : { path: found.path.join('.'), message: found.message };
};

describe('ranges of a template', () => {
  it('become dimensions, named by their place', () => {
    const template = {
      steps: [
        { pass: 'a', keep: 3, ratio: { search: { min: 0.1, max: 0.9 } } },
        { search: [{ pass: 'b' }, null] },
        {
          pass: 'c',
          deep: { list: [1, { search: [true, 'x', null] }] },
          size: { search: { min: 1, max: 100, log: true } },
        },
      ],
    };
    assert.deepEqual(dimensionsOf(template), [
      { name: 'steps.0.ratio', type: 'real', min: 0.1, max: 0.9 },
      { name: 'steps.1', type: 'choice', values: [{ pass: 'b' }, null] },
      { name: 'steps.2.deep.list.1', type: 'choice', values: [true, 'x', null] },
      { name: 'steps.2.size', type: 'real', min: 1, max: 100, log: true },
    ]);
  });

  it('with a step are its values, without the rounding of binary fractions', () => {
    const values = (search: object): unknown => dimensionsOf({ a: { search } })[0];
    assert.deepEqual(values({ min: 0.1, max: 0.5, step: 0.1 }), {
      name: 'a',
      type: 'choice',
      values: [0.1, 0.2, 0.3, 0.4, 0.5],
    });
    assert.deepEqual(values({ min: 1, max: 8, step: 3 }), { name: 'a', type: 'choice', values: [1, 4, 7] });
    assert.deepEqual(values({ min: 2, max: 2 }), { name: 'a', type: 'choice', values: [2] });
  });

  it('take the values of a point; what becomes null is left out of lists alone', () => {
    const template = {
      steps: [{ search: [{ pass: 'b' }, null] }, { pass: 'c', size: { search: [null, 2] } }],
      other: null,
    };
    assert.deepEqual(substitute(template, { 'steps.0': null, 'steps.1.size': null }), {
      steps: [{ pass: 'c', size: null }],
      other: null,
    });
    assert.deepEqual(substitute(template, { 'steps.0': { pass: 'b' }, 'steps.1.size': 2 }), {
      steps: [{ pass: 'b' }, { pass: 'c', size: 2 }],
      other: null,
    });
    assert.deepEqual(template.steps[0], { search: [{ pass: 'b' }, null] }, 'the template was changed');
  });

  it('are all shown by the examples: each value of each list, both ends of each interval', () => {
    const template = { a: { search: [1, 2, 3] }, b: { search: { min: 0, max: 1 } }, c: 'as it is' };
    assert.deepEqual(examplesOf(template), [
      { a: 1, b: 0, c: 'as it is' },
      { a: 2, b: 0, c: 'as it is' },
      { a: 3, b: 0, c: 'as it is' },
      { a: 1, b: 0, c: 'as it is' },
      { a: 1, b: 1, c: 'as it is' },
    ]);
    assert.deepEqual(examplesOf({ plain: [1, 2] }), [{ plain: [1, 2] }]);
  });

  it('know where a place of an example comes from', () => {
    const template = {
      steps: [
        { search: [null, { pass: 'b', of: [7, 8] }] },
        { pass: 'c', size: { search: [4, { x: 1 }] }, ratio: { search: { min: 0, max: 1 } } },
      ],
    };
    const without = { 'steps.0': null, 'steps.1.size': { x: 1 }, 'steps.1.ratio': 0 };
    const with_ = { ...without, 'steps.0': { of: [7, 8], pass: 'b' } };
    const at = (point: Parameters<typeof originOf>[1], path: string) =>
      originOf(template, point, path.split('.')).join('.');
    assert.equal(at(without, 'steps.0.pass'), 'steps.1.pass', 'the first step was left out');
    assert.equal(at(without, 'steps.0.size.x'), 'steps.1.size.search.1.x');
    assert.equal(at(without, 'steps.0.ratio'), 'steps.1.ratio.search');
    assert.equal(at(with_, 'steps.0.of.1'), 'steps.0.search.1.of.1');
    assert.equal(at(with_, 'steps.1.pass'), 'steps.1.pass');
    assert.equal(at(with_, 'steps.1.unknown.field'), 'steps.1.unknown.field');
  });

  it('for layers become a record, of the layers of the step they stand in', () => {
    const template = { steps: [{ pass: 'a', ratio: { search: { layers: { min: 0, max: 1 } } } }, { pass: 'b' }] };
    const asked: number[] = [];
    const expanded = expandLayers(template, (step) => {
      asked.push(step);
      return ['conv1', 'a.b/c'];
    });
    assert.deepEqual(asked, [0]);
    assert.deepEqual(
      dimensionsOf(expanded).map(({ name }) => name),
      ['steps.0.ratio.conv1', 'steps.0.ratio.a.b/c'],
    );
    const point = { 'steps.0.ratio.conv1': 0.25, 'steps.0.ratio.a.b/c': 1 };
    assert.deepEqual(substitute(expanded, point), {
      steps: [{ pass: 'a', ratio: { conv1: 0.25, 'a.b/c': 1 } }, { pass: 'b' }],
    });
  });
});

describe('yes or no for each layer', () => {
  const template = {
    steps: [
      { pass: 'a', exclude: { search: { layers: [true, false] } }, factors: { search: { layers: [0, 1] } } },
      { pass: 'b', exclude: ['head'] },
    ],
  };
  const forms: string[] = [];
  const expanded = expandLayers(template, (step, form) => {
    forms.push(`${step} ${form}`);
    return ['conv1', 'a.b/c'];
  });
  const point = {
    'steps.0.exclude.conv1': false,
    'steps.0.exclude.a.b/c': true,
    'steps.0.factors.conv1': 1,
    'steps.0.factors.a.b/c': 0,
  };

  it('has a dimension by the name of each, and becomes the list of those with yes', () => {
    assert.deepEqual(forms, ['0 names', '0 record']);
    assert.deepEqual(
      dimensionsOf(expanded).map(({ name }) => name),
      Object.keys(point),
    );
    const { steps } = substitute(expanded, point) as { steps: { exclude: string[]; factors: object }[] };
    assert.deepEqual(steps, [
      { pass: 'a', exclude: ['a.b/c'], factors: { conv1: 1, 'a.b/c': 0 } },
      { pass: 'b', exclude: ['head'] },
    ]);
    assert.deepEqual(
      layerPlacesOf(expanded).map(({ form, layers }) => [form, ...layers]),
      [
        ['names', ['steps.0.exclude.conv1', 'conv1'], ['steps.0.exclude.a.b/c', 'a.b/c']],
        ['record', ['steps.0.factors.conv1', 'conv1'], ['steps.0.factors.a.b/c', 'a.b/c']],
      ],
    );
  });

  it('knows where a value of a layer comes from', () => {
    const at = (path: string): string => originOf(expanded, point, path.split('|')).join('|');
    assert.equal(at('steps|0|exclude|0'), 'steps|0|exclude|search|layers|0');
    assert.equal(at('steps|0|factors|a.b/c'), 'steps|0|factors|search|layers|0');
    assert.equal(at('steps|0|factors|conv1'), 'steps|0|factors|search|layers|1');
    assert.equal(at('steps|1|exclude|0'), 'steps|1|exclude|0');
    const interval = expandLayers({ ratio: { search: { layers: { min: 0, max: 1 } } } }, () => ['x']);
    assert.deepEqual(originOf(interval, { 'ratio.x': 1 }, ['ratio', 'x']), ['ratio', 'search', 'layers']);
  });
});

describe('a template that is not valid', () => {
  const cases: readonly [string, unknown, string, RegExp][] = [
    ['has nothing to choose', { a: 1, b: [2] }, '', /nothing to search/],
    ['has an empty list', { a: [1, { search: [] }] }, 'a.1.search', />=1/],
    ['has a list that is too long', { a: { search: Array.from({ length: 65 }, (_, i) => i) } }, 'a.search', /1 to 64/],
    ['has a word for a range', { a: { search: 'all' } }, 'a.search', /list of 1 to 64/],
    ['has a field besides', { a: { search: [1], of: 2 } }, 'a', /of/],
    [
      'has its ends the wrong way round',
      { a: { search: { min: 2, max: 1 } } },
      'a.search',
      /min must not be above max/,
    ],
    ['has a logarithm of 0', { a: { search: { min: 0, max: 1, log: true } } }, 'a.search', /min above 0/],
    ['has log and step', { a: { search: { min: 1, max: 9, log: true, step: 1 } } }, 'a.search', /exclude/],
    ['has a step of 0', { a: { search: { min: 1, max: 9, step: 0 } } }, 'a.search', /./],
    ['has too many steps', { a: { search: { min: 0, max: 1, step: 1e-4 } } }, 'a.search', /more than 1000/],
    ['has a value twice', { a: { search: [1, 2, 1] } }, '', /"a" has a value twice/],
    ['has two places of one name', { 'a.b': { search: [1] }, a: { b: { search: [2] } } }, '', /"a.b" is given twice/],
    ['has no range for its layers', { a: { search: { layers: 3 } } }, 'a.search', /list of 1 to 64/],
    ['has layers of layers', { a: { search: { layers: { layers: [1, 2] } } } }, 'a.search', /list of 1 to 64/],
    ['has an infinite end', { a: { search: { min: 0, max: Infinity } } }, 'a.search', /./],
  ];
  for (const [name, template, path, message] of cases)
    it(name, () => {
      const found = problem(template);
      assert.ok(found, 'was taken');
      assert.ok(found.path.startsWith(path), found.path);
      assert.match(found.message, message);
    });

  it('has layers where there are none', () => {
    const template = { a: { search: { layers: [1, 2] } } };
    assert.equal(problem(template), undefined);
    assert.equal(problem(template, { layers: false })?.path, 'a.search');
  });
});
