import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { diskFull } from '../../workers/disk-full.ts';

describe('diskFull', () => {
  it('F21 knows what Node throws when the kernel lets a file grow no further', () => {
    const script = `try { require('fs').writeFileSync('/dev/full', 'x'); } catch (error) { console.log(error.code); }`;
    const code = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' }).stdout.trim();
    const error = Object.assign(new Error('write'), { code });
    assert.equal(diskFull(error)?.code, process.platform === 'linux' ? 'DISK_FULL' : undefined);
    assert.equal(diskFull(Object.assign(new Error('write'), { code: 'EFBIG' }))?.retryable, true);
  });

  it('leaves other errors what they are', () => {
    assert.equal(diskFull(Object.assign(new Error('open'), { code: 'ENOENT' })), undefined);
    assert.equal(diskFull('ENOSPC'), undefined);
  });
});
