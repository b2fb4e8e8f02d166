// Runs node:test through tsx over the test files of the folders named on the command line (default: all of them).
// Node 20 takes no glob, so the list is made here. `chaos/` and `large/` stand outside the default run.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** A file that is not over by then has hung: it fails, instead of holding up the run for ever. */
const fileTimeoutMs = 600_000;
const outside = new Set(['chaos', 'large', 'fixtures', 'helpers']);
const wanted = process.argv.slice(2).filter((word) => !word.startsWith('-'));
const flags = process.argv.slice(2).filter((word) => word.startsWith('-'));

function* testFiles(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (wanted.length > 0 || !outside.has(entry.name)) yield* testFiles(path);
    } else if (entry.name.endsWith('.test.ts')) yield path;
  }
}

const all = [...testFiles('test')];
const files =
  wanted.length === 0 ? all : all.filter((file) => wanted.some((word) => file.startsWith(join('test', word))));
if (files.length === 0) {
  console.error(`no test file under test/ matches ${wanted.join(' ')}`);
  process.exit(1);
}
const { status } = spawnSync(
  process.execPath,
  ['--import', 'tsx', '--test', '--test-concurrency=2', `--test-timeout=${fileTimeoutMs}`, ...flags, ...files],
  { stdio: 'inherit' },
);
process.exit(status ?? 1);
