import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { ARCHITECTURES } from '../../src/zoo/architectures.ts';
import { countNetwork } from '../../src/zoo/counts.ts';

const page = readFileSync(new URL('../../docs/architectures.md', import.meta.url), 'utf8');
const rows = page.split('\n').flatMap((line) => {
  const match = /^\| (.+) \| `(\{.+\})` \| ([\d,]+) \| ([\d.]+)(?: \+ ([\d.]+) adder)? \|$/.exec(line);
  return match === null ? [] : [match.slice(1)];
});

it('the table of docs/architectures.md is what the code builds', () => {
  const expected = ARCHITECTURES.flatMap((architecture) =>
    architecture.references.map(({ name, options }) => {
      const counts = countNetwork(architecture.build(options, { seed: 0, weights: 'zero' }));
      return [
        name,
        JSON.stringify({ architecture: architecture.name, ...options }),
        counts.parameters.toLocaleString('en'),
        (counts.macs / 1e6).toFixed(2),
        counts.adderOperations === 0 ? undefined : (counts.adderOperations / 1e6).toFixed(2),
      ];
    }),
  );
  const documented = rows.map(([name, request, ...counts]) => [name, JSON.stringify(JSON.parse(request!)), ...counts]);
  assert.deepEqual(documented, expected);
});
