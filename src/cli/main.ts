import { Command } from 'commander';
import { loadConfig, redactedConfig } from '../config.ts';
import { CompressionError } from '../errors.ts';

const program = new Command('tersor').description('Neural-network compression as a service');

program
  .command('config')
  .description('print the configuration the environment gives, secrets redacted')
  .action(() => {
    console.log(JSON.stringify(redactedConfig(loadConfig(process.env)), null, 2));
  });

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CompressionError)) throw error;
  console.error(error.message);
  process.exitCode = error.code === 'CONFIG_INVALID' ? 78 : 1;
}
