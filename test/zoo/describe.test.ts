import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ArchitectureField } from '../../src/schemas/architecture.ts';
import { ArchitectureResource } from '../../src/schemas/catalog.ts';
import { ARCHITECTURES } from '../../src/zoo/architectures.ts';
import { describeArchitectures } from '../../src/zoo/describe.ts';

it('describes every architecture with options, counts and a paper', () => {
  const resources = describeArchitectures();
  assert.deepEqual(
    resources.map(({ name }) => name),
    ARCHITECTURES.map(({ name }) => name),
  );
  for (const resource of resources) {
    ArchitectureResource.parse(resource);
    assert.ok(resource.papers.length > 0);
    assert.ok(resource.counts.defaults.parameters > 0 && resource.counts.defaults.macs > 0);
  }
});

it('lists only references that its own options allow', () => {
  for (const { name, references } of describeArchitectures()) {
    for (const { options } of references) ArchitectureField.parse({ architecture: name, ...options });
  }
});

it('fills defaults of the architecture that a job asks for, and refuses what it does not know', () => {
  const field = ArchitectureField.parse({ architecture: 'mobilenet-v2', classes: 4 });
  assert.deepEqual(field, {
    architecture: 'mobilenet-v2',
    classes: 4,
    inputSize: 32,
    inputChannels: 3,
    resolution: 'input',
    width: 1,
    depth: 1,
    stem: 'auto',
    dropout: 0,
  });
  assert.ok(!ArchitectureField.safeParse({ architecture: 'mobilenet-v2', typo: 1 }).success);
  assert.ok(!ArchitectureField.safeParse({ architecture: 'resnet', depth: 19 }).success);
  assert.match(ArchitectureField.safeParse({ architecture: 'alexnet' }).error?.message ?? '', /there are: resnet/);
});
