import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Version of this package. Compiled code lies one folder deeper (dist/src) than its source. */
export const VERSION: string = versionFrom(dirname(fileURLToPath(import.meta.url)));

function versionFrom(folder: string): string {
  for (const candidate of [join(folder, '..', 'package.json'), join(folder, '..', '..', 'package.json')]) {
    let text: string;
    try {
      text = readFileSync(candidate, 'utf8');
    } catch {
      continue; // not at this depth
    }
    const manifest: unknown = JSON.parse(text);
    if (typeof manifest === 'object' && manifest !== null && 'version' in manifest) return String(manifest.version);
  }
  return 'unknown';
}
