/** `npm run bench -- NAME [arguments]`: runs one benchmark; without a name, lists them. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const names = readdirSync(here, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && existsSync(join(here, entry.name, 'main.ts')))
  .map((entry) => entry.name);
const [name, ...args] = process.argv.slice(2);

if (name === undefined || !names.includes(name)) {
  console.log(`benchmarks: ${names.join(', ')}`);
  process.exit(name === undefined ? 0 : 1);
}
const { main } = (await import(`./${name}/main.ts`)) as { main: (args: readonly string[]) => Promise<void> };
await main(args);
