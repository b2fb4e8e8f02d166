import type { core } from 'zod';
import type { ErrorPlace } from '../errors.ts';

/** RFC 6901. */
export function pointerOf(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

const ROOT_MISMATCH: ReadonlySet<string> = new Set(['invalid_type', 'invalid_value']);

/** How deep the first wrong place of a branch lies: the branch that got furthest is the one that was meant. */
function depthOf(issues: readonly core.$ZodIssue[]): number {
  return issues.reduce((depth, issue) => Math.max(depth, issue.path.length), 0);
}

/** A zod issue as places in the body: unions opened up, one place for each unknown field. */
export function placesOf(issues: readonly core.$ZodIssue[], base: readonly PropertyKey[] = []): ErrorPlace[] {
  return issuesOf(issues).map(({ path, message }) => ({ pointer: pointerOf([...base, ...path]), message }));
}

/** The same, as paths. */
export function issuesOf(
  issues: readonly core.$ZodIssue[],
  base: readonly PropertyKey[] = [],
): { readonly path: readonly PropertyKey[]; readonly message: string }[] {
  return issues.flatMap((issue) => {
    const path = [...base, ...issue.path];
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({ path: [...path, key], message: 'unknown field' }));
    if (issue.code === 'invalid_union' && issue.errors.length > 0) {
      // A branch whose type or value is wrong at the root was not meant; of the rest, the one that got furthest.
      const meant = issue.errors
        .filter((branch) => branch.some((inner) => inner.path.length > 0 || !ROOT_MISMATCH.has(inner.code)))
        .sort((a, b) => depthOf(b) - depthOf(a))[0];
      if (meant !== undefined) return issuesOf(meant, path);
    }
    return [{ path, message: issue.message }];
  });
}
