import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ARCHITECTURES } from '../../src/zoo/architectures.ts';
import { startApp } from '../helpers/http-app.ts';

interface Listed {
  readonly name: string;
  readonly options: { readonly properties: Readonly<Record<string, { readonly default?: unknown }>> };
  readonly counts: { readonly defaults: { readonly parameters: number } };
}

it('GET /v1/architectures lists the zoo with options, counts and papers', async () => {
  const test = await startApp();
  try {
    const answer = await test.app.inject({ url: '/v1/architectures' });
    assert.equal(answer.statusCode, 200);
    const { items } = answer.json<{ items: Listed[] }>();
    assert.deepEqual(
      items.map(({ name }) => name),
      ARCHITECTURES.map(({ name }) => name),
    );
    const resnet = items[0];
    assert.equal(resnet?.options.properties['depth']?.default, 20);
    // ResNet-20 with projections: 272,474 in the published tables.
    assert.equal(resnet.counts.defaults.parameters, 272_474);
  } finally {
    await test.close();
  }
});
