/**
 * `npm run demo [-- quantize | distill [--epochs N]]`: starts the service on its embedded default, compresses the example network
 * through the HTTP API, and shows what came of it. Exit code 0 only when the job succeeded and its artifact was
 * downloaded and is intact.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { distillDemo } from './demo-distill.ts';
import { quantizeDemo } from './demo-quantize.ts';
import { EmbeddedService } from './embedded-service.ts';

const FOLDER = resolve('.demo');
/** Of the student's training: fewer show the same in less time, and less clearly. */
const EPOCHS = 60;
const DEMOS = { quantize: quantizeDemo, distill: distillDemo } as const;

process.exitCode = await main();

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { epochs: { type: 'string' } } });
  const [name = 'quantize'] = positionals;
  const demo = Object.entries(DEMOS).find(([key]) => key === name)?.[1];
  if (demo === undefined) {
    console.error(`There is no demo ${name}; there are: ${Object.keys(DEMOS).join(', ')}`);
    return 2;
  }
  const service = await EmbeddedService.start(FOLDER);
  try {
    return (await demo(service, { folder: FOLDER, epochs: Number(values.epochs ?? EPOCHS) })) ? 0 : 1;
  } finally {
    await service.stop();
  }
}
