/** Numbers as people read them. English, no locale data: the same report reads the same everywhere. */

/** 1234567 to `1.23 MB` (decimal units, as disks and networks count). */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? String(value) : threeDigits(value)} ${units[unit] ?? ''}`;
}

/** 40551360 to `40.6 M`. */
export function formatCount(count: number): string {
  const units = ['', ' k', ' M', ' G', ' T', ' P'];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? threeDigits(value) : threeDigits(value)}${units[unit] ?? ''}`;
}

/** 0.01234 to `12.3 µs`, 1.5 to `1.50 ms`, 2500 to `2.50 s`. */
export function formatMs(ms: number): string {
  if (ms >= 999.5) return `${threeDigits(ms / 1000)} s`;
  return ms < 0.9995 ? `${threeDigits(ms * 1000)} µs` : `${threeDigits(ms)} ms`;
}

/** A share 0..1 as `92.03 %`. */
export function formatShare(share: number): string {
  if (share === 0 || share === 1) return `${100 * share} %`;
  return `${(100 * share).toFixed(2)} %`;
}

/** A difference of shares in percentage points, without a plus: `0.15`, `-1.20`. */
export function formatPoints(share: number): string {
  const text = (100 * share).toFixed(2);
  return text === '-0.00' ? '0.00' : text;
}

/** Three significant digits, plain. */
export function formatNumber(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  return size >= 1e6 || size < 1e-3 ? value.toExponential(2) : threeDigits(value);
}

function threeDigits(value: number): string {
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1000) return String(value);
  return value.toFixed(
    size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.0995 ? 2 : Math.min(20, 2 - Math.floor(Math.log10(size || 1))),
  );
}
