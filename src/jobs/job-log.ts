/** What the jobs folder needs of a logger; pino fits. */
export interface JobLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export const SILENT_LOG: JobLog = { info: () => undefined, warn: () => undefined };
