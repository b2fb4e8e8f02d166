import type { PassContext } from './pass.ts';

/** The same context, its progress a part of the whole. */
export function partOf<Context extends Pick<PassContext, 'progress'>>(
  context: Context,
  from: number,
  to: number,
): Context {
  return { ...context, progress: (fraction, message) => context.progress(from + fraction * (to - from), message) };
}
