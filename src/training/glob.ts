/** True when `text` matches `glob`: `*` stands for any run of characters, `?` for one. O(glob * text), no recursion. */
export function matchesGlob(glob: string, text: string): boolean {
  // reachable[t]: the part of the glob read so far matches the first t characters.
  let reachable = new Uint8Array(text.length + 1);
  reachable[0] = 1;
  for (const sign of glob) {
    const next = new Uint8Array(text.length + 1);
    for (let t = 0; t <= text.length; t += 1) {
      if (sign === '*') next[t] = (reachable[t] ?? 0) | (t > 0 ? (next[t - 1] ?? 0) : 0);
      else if (t > 0 && (sign === '?' || sign === text[t - 1])) next[t] = reachable[t - 1] ?? 0;
    }
    reachable = next;
  }
  return reachable[text.length] === 1;
}
