import { loadConfig, type Config } from './config.ts';
import { CompressionError, messageOf } from './errors.ts';
import { createLogger } from './logger.ts';
import { startService } from './service.ts';

/** sysexits.h: the configuration is wrong, so starting again will not help. */
const EX_CONFIG = 78;
const EX_FAILURE = 1;
/** Orchestrators kill after 30 s by default; by then everything must have been handed back. */
const SHUTDOWN_MS = 25_000;

function configOrExit(): Config {
  try {
    return loadConfig(process.env);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exit(EX_CONFIG);
  }
}

const config = configOrExit();
const logger = createLogger(config.logLevel);

function stop(code: number): void {
  process.exitCode = code;
  process.exit();
}

try {
  const service = await startService(config, logger);
  let stopping = false;
  const shutDown = (signal: NodeJS.Signals): void => {
    if (stopping) return;
    stopping = true;
    logger.info({ signal }, 'service stops');
    setTimeout(() => {
      logger.error({ afterMs: SHUTDOWN_MS }, 'service did not stop in time');
      stop(EX_FAILURE);
    }, SHUTDOWN_MS).unref();
    service.close().then(
      () => stop(0),
      (error: unknown) => {
        logger.error({ err: error }, 'service did not stop cleanly');
        stop(EX_FAILURE);
      },
    );
  };
  process.on('SIGTERM', shutDown);
  process.on('SIGINT', shutDown);
} catch (error) {
  logger.fatal({ err: error }, 'service did not start');
  const config = error instanceof CompressionError && error.code === 'CONFIG_INVALID';
  process.stderr.write(`Tersor did not start: ${messageOf(error)}\n`);
  stop(config ? EX_CONFIG : EX_FAILURE);
}
