import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';

const NAMESPACES = ['--map-root-user', '--net'];

/** Which layers around a job child this machine can give. Probed once; the rest is done without and logged. */
export interface Sandbox {
  /** Own network namespace with nothing in it (unshare). */
  readonly network: boolean;
  /** Own mount namespace, in which folders of others are empty (unshare, mount). Only together with `network`. */
  readonly files: boolean;
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

/**
 * Lays an empty folder over each one named before `--`, puts the working folder back in its place (it may lie in one of
 * them) and becomes the command behind. Nobody outside sees any of it: the mounts are the child's own.
 */
const HIDE = [
  'set -e; own=$(pwd -P)',
  'while [ "$1" != -- ]; do [ ! -d "$1" ] || mount -t tmpfs -o size=1m,mode=700 tmpfs "$1"; shift; done; shift',
  // "." is still the real folder, which its path no longer leads to; -c keeps mount from resolving it.
  'mkdir -p "$own"; mount -c --bind . "$own"; cd "$own"; exec "$@"',
].join('; ');

/** Tries each tool on a harmless command. They are part of util-linux; elsewhere (macOS) all are absent. */
export function probeSandbox(): Sandbox {
  // Of its own: a folder with mounts in it, as the temporary folder may be, could not be put back in its place.
  const folder = mkdtempSync(join(tmpdir(), 'tersor-probe-'));
  const works = (command: string, args: readonly string[]): boolean =>
    spawnSync(command, [...args, process.execPath, '--version'], {
      stdio: 'ignore',
      timeout: 5000,
      env: {},
      cwd: folder,
    }).status === 0;
  try {
    const network = works('unshare', NAMESPACES);
    return {
      network,
      files: network && works('unshare', [...NAMESPACES, '--mount', '--', 'sh', '-c', HIDE, 'sh', folder, '--']),
      parentDeath: works('setpriv', ['--pdeathsig', 'KILL']),
      limits: works('prlimit', ['--core=0']),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * The command line that runs `command` inside the layers there are; the folders in `hidden` are empty to it, all but its
 * working folder. `unshare` stands outermost: a change of credentials would clear the parent-death signal that `setpriv` sets.
 */
export function sandboxed(
  sandbox: Sandbox,
  limits: ChildLimits,
  command: readonly string[],
  hidden: readonly string[] = [],
): { readonly file: string; readonly args: readonly string[] } {
  const line: string[] = [];
  if (sandbox.network) {
    line.push('unshare', ...NAMESPACES);
    // What the command itself is made of must stay visible.
    const folders = hidden.filter((folder) => !command.some((word) => word.includes(`${folder}${sep}`)));
    if (sandbox.files && folders.length > 0) line.push('--mount', '--', 'sh', '-c', HIDE, 'sh', ...folders, '--');
    else line.push('--');
  }
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
