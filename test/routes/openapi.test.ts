import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { PASSES } from '../../src/passes/registry.ts';
import { startApp, type TestApp } from '../helpers/http-app.ts';

interface Operation {
  readonly tags?: string[];
  readonly summary?: string;
  readonly parameters?: { name: string; in: string; required?: boolean; schema: object }[];
  readonly requestBody?: { content: Record<string, { schema: object }> };
  readonly responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>;
}
interface Document {
  readonly openapi: string;
  readonly info: { title: string; version: string };
  readonly paths: Record<string, Record<string, Operation>>;
}

describe('OpenAPI document', () => {
  let test: TestApp;
  let document: Document;
  let operations: [name: string, operation: Operation][];
  before(async () => {
    test = await startApp();
    document = (await test.app.inject({ url: '/openapi.json' })).json();
    operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]),
    );
  });
  after(() => test.close());

  it('is OpenAPI 3.1 and holds every endpoint of the contract', () => {
    assert.match(document.openapi, /^3\.1\./);
    const expected = [
      'post /v1/models',
      'get /v1/models',
      'get /v1/models/{id}',
      'get /v1/models/{id}/content',
      'delete /v1/models/{id}',
      'post /v1/datasets',
      'get /v1/datasets',
      'get /v1/datasets/{id}',
      'delete /v1/datasets/{id}',
      'post /v1/jobs',
      'get /v1/jobs',
      'get /v1/jobs/{id}',
      'delete /v1/jobs/{id}',
      'post /v1/jobs/{id}/cancel',
      'get /v1/jobs/{id}/events',
      'get /v1/jobs/{id}/logs',
      'get /v1/jobs/{id}/report',
      'get /v1/jobs/{id}/artifacts',
      'get /v1/jobs/{id}/artifacts/{name}',
      'get /v1/passes',
      'get /v1/architectures',
      'get /v1/presets',
      'get /healthz',
      'get /readyz',
    ];
    const names = new Set(operations.map(([name]) => name));
    for (const name of expected) assert.ok(names.has(name), `${name} is missing`);
  });

  it('says for every operation what it is, and that it can refuse', () => {
    for (const [name, { tags, summary, responses }] of operations) {
      assert.ok(tags !== undefined && summary !== undefined, `${name} has no tag or summary`);
      for (const status of ['400', '401', '429', '500'])
        assert.ok(responses[status]?.content?.['application/problem+json'], `${name} does not describe ${status}`);
      assert.ok(
        Object.keys(responses).some((status) => status.startsWith('2')),
        `${name} has no success`,
      );
    }
  });

  it('declares every path parameter', () => {
    for (const [name, { parameters = [] }] of operations)
      for (const [, parameter] of name.matchAll(/\{(\w+)\}/g)) {
        const found = parameters.find((candidate) => candidate.name === parameter && candidate.in === 'path');
        assert.equal(found?.required, true, `${name}: ${parameter ?? ''}`);
      }
  });

  it('describes bodies of uploads by content type', () => {
    const upload = operations.find(([name]) => name === 'post /v1/models')?.[1];
    assert.deepEqual(Object.keys(upload?.requestBody?.content ?? {}).sort(), [
      'application/json',
      'application/octet-stream',
      'multipart/form-data',
    ]);
  });

  it('has one alternative for each pass in the body of a job, told apart by its name', () => {
    const create = operations.find(([name]) => name === 'post /v1/jobs')?.[1];
    const text = JSON.stringify(create?.requestBody);
    for (const { name } of PASSES) assert.ok(text.includes(`"enum":["${name}"]`), `${name} is not in the document`);
  });

  it('describes the report by its schema, and the limits of what a header or query may hold', () => {
    const report = operations.find(([name]) => name === 'get /v1/jobs/{id}/report')?.[1];
    const schema = JSON.stringify(report?.responses['200']?.content?.['application/json']?.schema);
    for (const field of ['baseline', 'result', 'comparison', 'layers', 'steps', 'constraints', 'notMeasured'])
      assert.ok(schema.includes(`"${field}":`), field);
    const patternOf = (operation: string, parameter: string): RegExp => {
      const parameters = operations.find(([name]) => name === operation)?.[1].parameters ?? [];
      const found = parameters.find(({ name }) => name === parameter)?.schema;
      return new RegExp(String(found === undefined ? '' : Reflect.get(found, 'pattern')), 'u');
    };
    const limit = patternOf('get /v1/jobs', 'limit');
    assert.deepEqual(
      ['0', '1', '20', '99', '100', '101', '1e1', '-1', ''].filter((text) => limit.test(text)),
      ['1', '20', '99', '100'],
    );
    const key = patternOf('post /v1/jobs', 'idempotency-key');
    assert.deepEqual(
      ['a', '~'.repeat(255), '~'.repeat(256), 'a b', 'é', ''].filter((text) => key.test(text)),
      ['a', '~'.repeat(255)],
    );
  });

  it('is what docs/api.md speaks of: each path is in the guide', () => {
    const guide = readFileSync('docs/api.md', 'utf8');
    for (const path of Object.keys(document.paths)) assert.ok(guide.includes(path), `${path} is not in docs/api.md`);
  });

  it('leaves no reference open', () => {
    const text = JSON.stringify(document);
    for (const [, reference] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      const found = (reference ?? '').split('/').reduce<unknown>((value, part) => {
        const name = part.replaceAll('~1', '/');
        return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
      }, document);
      assert.notEqual(found, undefined, reference);
    }
  });
});
