import { z } from 'zod';
import { parseJsonHeader } from './json-header.ts';
import type { Position, TrainingSnapshot } from './snapshot.ts';

const VERSION = 2;
/** The arrays begin at a multiple of this. */
const ALIGNMENT = 64;

/** JSON has no NaN and no infinity. */
const orNaN = (value: number | null): number => value ?? Number.NaN;

const Validation = z.object({
  metric: z.enum(['top1', 'rmse']),
  value: z.number().nullable().transform(orNaN),
  samples: z.number(),
});
const Epoch = z.object({
  epoch: z.number(),
  loss: z.number(),
  learningRate: z.number(),
  imagesPerSecond: z.number(),
  seconds: z.number(),
  parts: z.record(z.string(), z.number()).optional(),
  validation: Validation.optional(),
});
const place = { epoch: z.number(), step: z.number() };
const Table = z.array(z.tuple([z.string(), z.number().int().min(0)]));
const Header = z.object({
  version: z.literal(VERSION),
  key: z.string(),
  position: z.object({
    attempt: z.number(),
    divergences: z.array(z.object({ ...place, learningRate: z.number(), reason: z.string() })),
    resumedAt: z.array(z.object(place)),
    epoch: z.number(),
    step: z.number(),
    updates: z.number(),
    lossSum: z.number(),
    partSums: z.record(z.string(), z.number()),
    bestEpoch: z.number().optional(),
    curve: z.array(Epoch),
    watch: z.object({ recent: z.array(z.number()), steps: z.number(), reference: z.number() }),
  }),
  /** Name and length of each array, in the order of the data. */
  state: Table,
  best: Table.optional(),
});

/**
 * A snapshot as bytes: length of the header (uint32), the header as JSON, then the float arrays one after the other,
 * little-endian. JSON numbers keep every bit of a double.
 *
 * @param key - says what run this belongs to; `decodeSnapshot` refuses another
 */
export function encodeSnapshot(snapshot: TrainingSnapshot, key: string): Uint8Array {
  const lengths = (arrays: ReadonlyMap<string, Float32Array>): [string, number][] =>
    [...arrays].map(([name, { length }]) => [name, length]);
  const header = {
    version: VERSION,
    key,
    position: snapshot.position,
    state: lengths(snapshot.state),
    ...(snapshot.best === undefined ? {} : { best: lengths(snapshot.best) }),
  };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const start = aligned(4 + text.length);
  const arrays = [...snapshot.state.values(), ...(snapshot.best?.values() ?? [])];
  const bytes = new Uint8Array(start + arrays.reduce((sum, { byteLength }) => sum + byteLength, 0));
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  let at = start;
  for (const array of arrays) {
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), at);
    at += array.byteLength;
  }
  return bytes;
}

/** @returns undefined when the bytes are of another version or belong to another run: the run then starts from the beginning */
export function decodeSnapshot(bytes: Uint8Array, key: string): TrainingSnapshot | undefined {
  if (bytes.length < 4) return undefined;
  const headerLength = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = parseJsonHeader(Header, bytes.subarray(4, 4 + headerLength));
  if (header?.key !== key) return undefined;
  const { curve, bestEpoch, ...position } = header.position;
  let at = aligned(4 + headerLength);
  const read = (table: z.output<typeof Table>): Map<string, Float32Array> =>
    new Map(
      table.map(([name, length]) => {
        // A copy: the bytes may lie at any offset.
        const part = Uint8Array.prototype.slice.call(bytes, at, at + 4 * length);
        at += 4 * length;
        return [name, new Float32Array(part.buffer, part.byteOffset, length)];
      }),
    );
  const restored: Position = {
    ...position,
    bestEpoch,
    curve: curve.map(({ parts, validation, ...epoch }) => ({
      ...epoch,
      ...(parts === undefined ? {} : { parts }),
      ...(validation === undefined ? {} : { validation }),
    })),
  };
  const state = read(header.state);
  return { position: restored, state, ...(header.best === undefined ? {} : { best: read(header.best) }) };
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}
