import { spawnSync } from 'node:child_process';

/** Which layers around a job child this machine can give. Probed once; the rest is done without and logged. */
export interface Sandbox {
  /** Own network namespace with nothing in it (unshare). */
  readonly network: boolean;
  /** The kernel kills the child when its parent dies (setpriv). */
  readonly parentDeath: boolean;
  /** Memory, processor time, file size and core dump limits (prlimit). */
  readonly limits: boolean;
}

export interface ChildLimits {
  /** Private writable memory of the child, bytes. */
  readonly memoryBytes: number;
  /** Largest file it may write, bytes. */
  readonly fileBytes: number;
}

/** Tries each tool on a harmless command. They are part of util-linux; elsewhere (macOS) all are absent. */
export function probeSandbox(): Sandbox {
  const works = (command: string, args: readonly string[]): boolean =>
    spawnSync(command, [...args, process.execPath, '--version'], { stdio: 'ignore', timeout: 5000, env: {} }).status ===
    0;
  return {
    network: works('unshare', ['--map-root-user', '--net']),
    parentDeath: works('setpriv', ['--pdeathsig', 'KILL']),
    limits: works('prlimit', ['--core=0']),
  };
}

/**
 * The command line that runs `command` inside the layers there are. `unshare` stands outermost: a change of
 * credentials would clear the parent-death signal that `setpriv` sets.
 */
export function sandboxed(
  sandbox: Sandbox,
  limits: ChildLimits,
  command: readonly string[],
): { readonly file: string; readonly args: readonly string[] } {
  const line: string[] = [];
  if (sandbox.network) line.push('unshare', '--map-root-user', '--net', '--');
  if (sandbox.parentDeath) line.push('setpriv', '--pdeathsig', 'KILL', '--');
  if (sandbox.limits) {
    line.push('prlimit', '--core=0', `--data=${limits.memoryBytes}`, `--fsize=${limits.fileBytes}`, '--');
  }
  line.push(...command);
  const [file, ...args] = line;
  if (file === undefined) throw new RangeError('empty command');
  return { file, args };
}

/** Caps the processor time of a running child (it was started before its task was known). Best effort. */
export function limitProcessorSeconds(sandbox: Sandbox, pid: number, seconds: number): void {
  if (!sandbox.limits) return;
  spawnSync('prlimit', ['--pid', String(pid), `--cpu=${Math.ceil(seconds)}`], { stdio: 'ignore', timeout: 5000 });
}
