import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { LiveService } from './live-service.ts';

const read = (path: string): string => readFileSync(path, 'utf8');
const all = (text: string, pattern: RegExp): string[] => [
  ...new Set([...text.matchAll(pattern)].map(([, found]) => found ?? '')),
];

describe('docs/operations.md and deploy/', () => {
  const docs = read('docs/operations.md');
  const variables = all(read('src/config.ts').split('ConfigSchema')[0] ?? '', /^ {2}([A-Z][A-Z0-9_]+): /gm);
  let service: LiveService;
  before(async () => {
    service = await LiveService.start();
  });
  after(() => service.stop());

  it('describe every variable of the configuration, and no other', () => {
    assert.ok(variables.length > 20);
    assert.deepEqual(all(docs, /^\| `([A-Z][A-Z0-9_]+)` \|/gm).sort(), [...variables].sort());
  });

  it('set no variable in docker-compose.yml or the Dockerfile that nobody reads', () => {
    const known = [
      ...variables,
      'NODE_ENV',
      'ROOT_ACCESS_KEY',
      'ROOT_SECRET_KEY',
      'AWS_ACCESS_KEY_ID',
      'AWS_SECRET_ACCESS_KEY',
    ];
    const set = [
      ...all(read('docker-compose.yml'), /(?:^|[ {,])([A-Z][A-Z0-9_]+): /gm).filter(
        (name) => name !== 'ALL' && name !== 'CMD',
      ),
      ...all(/^ENV (.*)$/m.exec(read('Dockerfile'))?.[1] ?? '', /([A-Z_]+)=/g),
    ];
    assert.ok(set.length > 8, set.join(' '));
    assert.deepEqual(
      set.filter((name) => !known.includes(name)),
      [],
    );
  });

  it('copy into the image only what a clone has', () => {
    const copied = [...read('Dockerfile').matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = '']) =>
      names.split(' '),
    );
    assert.ok(copied.includes('src') && copied.includes('package-lock.json'), copied.join(' '));
    const tracked = execFileSync('git', ['ls-files', '--', ...copied], { encoding: 'utf8' }).split('\n');
    for (const name of copied)
      assert.ok(
        tracked.some((path) => path === name || path.startsWith(`${name}/`)),
        `${name} is not in the repository`,
      );
  });

  it('name every metric of ours, and none that /metrics does not have', async () => {
    const exposed = all(String((await service.request('/metrics')).body), /^# TYPE (tersor_\w+)/gm);
    assert.deepEqual(all(docs, /`(tersor_\w+)`/g).sort(), exposed.sort());
    const used = all(read('deploy/prometheus-rules.yml'), /\b(tersor_\w+)/g);
    assert.ok(used.length > 5);
    for (const name of used) assert.ok(exposed.includes(name.replace(/_(count|bucket|sum)$/, '')), name);
  });

  it('name tests that are there', () => {
    const tests = all(docs, /`(test\/[\w/-]+\.test\.ts)`/g);
    assert.ok(tests.length > 8);
    for (const path of tests) assert.ok(existsSync(path), path);
  });

  it('answer each fault of the list once', () => {
    const told = all(docs, /\b(F\d+(?: to F\d+)?)\b/g).flatMap((range) => {
      const [from = 0, to = from] = range.split(' to ').map((name) => Number(name.slice(1)));
      return Array.from({ length: to - from + 1 }, (_, index) => from + index);
    });
    assert.deepEqual(
      [...new Set(told)].sort((a, b) => a - b),
      Array.from({ length: 36 }, (_, index) => index + 1),
    );
  });
});
