import { z } from 'zod';

const events = z.array(
  z.looseObject({
    name: z.string(),
    cat: z.string(),
    dur: z.number().optional(),
    args: z.looseObject({ op_name: z.string().optional() }).optional(),
  }),
);

/**
 * What ONNX Runtime's profile says, by operator: milliseconds and calls a step, most first.
 *
 * @param steps - runs that the profile holds
 */
export function timeByOperator(profile: string, steps: number): string[] {
  const totals = new Map<string, { us: number; calls: number }>();
  for (const event of events.parse(JSON.parse(profile))) {
    const operator = event.args?.op_name;
    if (event.cat !== 'Node' || operator === undefined || !event.name.endsWith('_kernel_time')) continue;
    const entry = totals.get(operator) ?? { us: 0, calls: 0 };
    totals.set(operator, { us: entry.us + (event.dur ?? 0), calls: entry.calls + 1 });
  }
  return [...totals]
    .toSorted(([, a], [, b]) => b.us - a.us)
    .filter(([, { us }]) => us / steps >= 500)
    .map(
      ([operator, { us, calls }]) =>
        `${operator}: ${(us / 1000 / steps).toFixed(1)} ms in ${(calls / steps).toFixed(0)} calls`,
    );
}
