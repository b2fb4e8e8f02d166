import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ERROR_CODES } from '../../src/errors.ts';

const ROW = /^\| `([A-Z_]+)` \| (\d{3}) \| (yes|no) \| (.+) \| (.+) \|$/gm;

describe('docs/errors.md', () => {
  const rows = [...readFileSync('docs/errors.md', 'utf8').matchAll(ROW)];

  it('lists each code of the table once, and no other', () => {
    assert.deepEqual(rows.map(([, code]) => code).sort(), Object.keys(ERROR_CODES).sort());
  });

  it('gives the status and says whether a retry helps, as the table does', () => {
    for (const [, code = '', status, retry] of rows) {
      const entry = Object.entries(ERROR_CODES).find(([name]) => name === code)?.[1];
      assert.equal(Number(status), entry?.httpStatus, code);
      assert.equal(retry === 'yes', entry?.retryable, code);
    }
  });
});
