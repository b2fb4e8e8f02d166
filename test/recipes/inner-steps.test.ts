import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CompressionError, type ErrorPlace } from '../../src/errors.ts';
import { missingRoles } from '../../src/recipes/check-data.ts';
import { planOf } from '../../src/recipes/estimate.ts';
import { referencedModels } from '../../src/recipes/referenced-models.ts';
import { resolveRecipe } from '../../src/recipes/resolve.ts';
import { CreateJob } from '../../src/schemas/job.ts';
import { placesOf } from '../../src/schemas/error-places.ts';

type Step = { readonly pass: string } & Readonly<Record<string, unknown>>;
const search = (...steps: object[]): Step => ({ pass: 'search.compression', steps });
const PRUNE = { pass: 'prune.channels', macsRatio: { search: [0.5, 0.8] } };

/** As a request is checked: by its schema first, then by what the schema cannot see. */
function placesIn(...steps: Step[]): ErrorPlace[] {
  const body = CreateJob.safeParse({ model: 'mdl_0123456789abcdef', recipe: { steps } });
  if (!body.success) return placesOf(body.error.issues);
  try {
    resolveRecipe(body.data.recipe);
    return [];
  } catch (error) {
    assert.ok(error instanceof CompressionError);
    assert.equal(error.code, 'RECIPE_INVALID');
    return [...error.places];
  }
}

const pointersIn = (...steps: Step[]): string[] => placesIn(...steps).map(({ pointer }) => pointer);

describe('steps that a search runs as trials', () => {
  it('are taken when every value of every range is', () => {
    assert.deepEqual(pointersIn(search(PRUNE, { search: [{ pass: 'quantize.static' }, null] })), []);
    assert.deepEqual(pointersIn(search({ search: [{ pass: 'quantize.dynamic' }, { pass: 'quantize.float' }] })), []);
  });

  it('are passes that there are', () => {
    assert.deepEqual(placesIn(search({ ...PRUNE, pass: 'prune.everything' })), [
      { pointer: '/recipe/steps/0/steps/0/pass', message: 'there is no pass prune.everything' },
    ]);
  });

  it('in a choice, too', () => {
    const choice = { search: [null, { pass: 'quantize.static' }, { pass: 'quantize.nowhere' }] };
    assert.deepEqual(pointersIn(search(PRUNE, choice)), ['/recipe/steps/0/steps/1/search/2/pass']);
  });

  it('have values for each layer in range, and yes or no where a list of layers stands', () => {
    const layers = (values: unknown[]) => ({ search: { layers: values } });
    const excluding = (values: unknown[]) => search({ pass: 'quantize.static', exclude: layers(values) });
    assert.deepEqual(pointersIn(excluding([true, false])), []);
    assert.deepEqual(pointersIn(excluding([0, 1])), ['/recipe/steps/0/steps/0/exclude']);
    assert.deepEqual(pointersIn(search({ pass: 'quantize.static', rounding: layers([true, false]) })), [
      '/recipe/steps/0/steps/0/rounding',
    ]);
    const ranks = (values: unknown[]) => search({ pass: 'factorize.svd', ranks: layers(values) });
    assert.deepEqual(pointersIn(ranks([0.25, 8, null])), []);
    assert.deepEqual(pointersIn(ranks([0.25, 1.5])), ['/recipe/steps/0/steps/0/ranks/search/layers/1']);
  });

  it('are pointed at by their own place when one before them is left out', () => {
    const optional = { search: [null, { pass: 'prune.channels', macsRatio: 0.5 }] };
    assert.deepEqual(pointersIn(search(optional, { pass: 'quantize.nowhere' })), ['/recipe/steps/0/steps/1/pass']);
  });

  it('have options that their pass knows', () => {
    assert.deepEqual(pointersIn(search({ ...PRUNE, macsRation: 0.5 })), ['/recipe/steps/0/steps/0/macsRation']);
  });

  it('have options in range, for each value that is searched', () => {
    const list = { ...PRUNE, macsRatio: { search: [0.5, 0.8, 7] } };
    assert.deepEqual(pointersIn(search(list)), ['/recipe/steps/0/steps/0/macsRatio/search/2']);
    const interval = { ...PRUNE, macsRatio: { search: { min: 0.5, max: 1.5 } } };
    assert.deepEqual(pointersIn(search(interval)), ['/recipe/steps/0/steps/0/macsRatio/search']);
    const outside = { ...PRUNE, recover: { search: ['least-squares', 'prayer'] } };
    assert.deepEqual(pointersIn(search(outside)), ['/recipe/steps/0/steps/0/recover/search/1']);
  });

  it('have options in range where there is a value for each layer', () => {
    const layers = { pass: 'prune.channels', ratios: { search: { layers: [0.5, -1] } } };
    assert.ok(pointersIn(search(layers)).every((pointer) => pointer.startsWith('/recipe/steps/0/steps/0/ratios')));
    assert.notEqual(pointersIn(search(layers)).length, 0);
  });

  it('do not search themselves', () => {
    const [place] = placesIn(search({ search: [search(PRUNE), null] }));
    assert.match(place?.pointer ?? '', /^\/recipe\/steps\/0\/steps\/0\/search\/0/);
    const [auto] = placesIn(search(PRUNE, { pass: 'search.auto' }));
    assert.deepEqual(auto, {
      pointer: '/recipe/steps/0/steps/1/pass',
      message: 'a search cannot run another search',
    });
  });

  it('stand in the order of the stages', () => {
    const places = placesIn(search({ pass: 'quantize.dynamic' }, PRUNE));
    assert.deepEqual(
      places.map(({ pointer }) => pointer),
      ['/recipe/steps/0/steps/1/pass'],
    );
    assert.match(
      places[0]?.message ?? '',
      /comes too late: the order is canonicalize, search, prune, distill, quantize/,
    );
  });

  it('of the training of architectures are pointed at there', () => {
    const space = { architecture: 'resnet', depth: { search: [8, 14] } };
    assert.deepEqual(pointersIn({ pass: 'search.architecture', space, training: { epochs: 2 } }), []);
    const wrong = { pass: 'search.architecture', space, finalTraining: { epochs: 0 } };
    assert.ok(pointersIn(wrong).every((pointer) => pointer.startsWith('/recipe/steps/0/finalTraining')));
    assert.notEqual(pointersIn(wrong).length, 0);
  });

  it('have ranges that are valid', () => {
    assert.deepEqual(pointersIn(search({ ...PRUNE, macsRatio: { search: { min: 1, max: 0.5 } } })), [
      '/recipe/steps/0/steps/0/macsRatio/search',
    ]);
    assert.deepEqual(pointersIn(search({ pass: 'quantize.dynamic' })), ['/recipe/steps/0/steps']);
    assert.deepEqual(pointersIn(search({ ...PRUNE, macsRatio: { search: [0.5, 0.5] } })), ['/recipe/steps/0/steps']);
    const layers = { architecture: 'resnet', depth: { search: { layers: [8, 14] } } };
    assert.deepEqual(pointersIn({ pass: 'search.architecture', space: layers }), [
      '/recipe/steps/0/space/depth/search',
    ]);
  });
});

describe('a recipe that searches', () => {
  it('does so once, first', () => {
    assert.deepEqual(pointersIn(search(PRUNE), { pass: 'quantize.dynamic' }), []);
    const [second] = placesIn(search(PRUNE), search(PRUNE));
    assert.equal(second?.pointer, '/recipe/steps/1/pass');
    assert.match(second.message, /one search at most/);
    const [late] = placesIn({ pass: 'prune.channels', macsRatio: 0.5 }, search(PRUNE));
    assert.equal(late?.pointer, '/recipe/steps/1/pass');
    assert.match(late.message, /stage search\) cannot run after prune\.channels/);
  });

  it('needs the data of its trials', () => {
    const steps = [search({ search: [{ pass: 'quantize.static' }, { pass: 'quantize.dynamic' }] })];
    const plan = resolveRecipe({ version: 1, steps });
    assert.deepEqual(
      missingRoles({}, plan.steps).map(({ pointer }) => pointer),
      ['/data/calibration', '/data/evaluation'],
    );
    assert.deepEqual(planOf(plan.steps, undefined).at(-1)?.needs, ['calibration', 'evaluation']);
    const evaluation = { dataset: 'dst_0123456789abcdef' };
    const [place] = missingRoles({ evaluation }, plan.steps);
    assert.match(place?.message ?? '', /search\.compression needs calibration data/);
  });

  it('reads the models that its trials name', () => {
    const id = 'mdl_fedcba9876543210';
    const distill = { pass: 'distill', student: { model: id }, training: { epochs: { search: [1, 2] } } };
    const { recipe } = resolveRecipe({ version: 1, steps: [search(distill)] });
    const models = referencedModels(recipe);
    assert.ok(models.length > 0);
    for (const model of models)
      assert.deepEqual(model, { id, as: 'student', pointer: '/recipe/steps/0/steps/0/student/model' });
    const chosen = { pass: 'distill', student: { search: ['self', { model: id }] } };
    assert.deepEqual(referencedModels(resolveRecipe({ version: 1, steps: [search(chosen)] }).recipe), [
      { id, as: 'student', pointer: '/recipe/steps/0/steps/0/student/search/1/model' },
    ]);
  });
});
