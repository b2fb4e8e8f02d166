/**
 * Part of `npm run build`: the job child and its thread as one file each, in place of the hundreds that tsc writes. Every job starts a
 * process, and most of what a start costs is finding and opening modules.
 */
import { build } from 'esbuild';

await build({
  entryPoints: ['workers/job-child.ts', 'src/data/training/prefetch-thread.ts'],
  // Side by side, as the child looks for its thread beside itself.
  outdir: 'dist/workers',
  entryNames: '[name]',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  external: ['onnxruntime-node'],
  // CommonJS packages in the bundle ask for Node's modules by `require`, which a module does not have.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module';\nconst require = requireFrom(import.meta.url);",
  },
  sourcemap: true,
  logLevel: 'warning',
});
