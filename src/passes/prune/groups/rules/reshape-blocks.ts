import type { Dimension, Shape } from '../../../../onnx/value-type.ts';

/** Neighbouring axes of the input that hold the same elements as neighbouring axes of the output. Sizes of 1 stand in none. */
export interface Block {
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** False where an open size leaves it unknown how the elements lie. */
  readonly isKnown: boolean;
}

interface Sized {
  readonly at: number;
  readonly size: Dimension;
}

/** Cuts a reshape into its smallest independent blocks: from both ends as far as sizes are known, the rest is one block. */
export function factorBlocks(from: Shape, to: Shape): Block[] {
  const inputs = withoutSingles(from);
  const outputs = withoutSingles(to);
  const blocks: Block[] = [];
  for (;;) {
    const block = takeBlock(inputs, outputs, 'front');
    if (block === undefined) break;
    blocks.push(block);
  }
  const back: Block[] = [];
  for (;;) {
    const block = takeBlock(inputs, outputs, 'back');
    if (block === undefined) break;
    back.push(block);
  }
  if (inputs.length > 0 || outputs.length > 0) {
    blocks.push({ inputs: inputs.map(({ at }) => at), outputs: outputs.map(({ at }) => at), isKnown: false });
  }
  return [...blocks, ...back.reverse()];
}

function withoutSingles(shape: Shape): Sized[] {
  return shape.map((size, at) => ({ size, at })).filter(({ size }) => size !== 1);
}

/** Takes the smallest block off one end of both lists; undefined when there is none of known size. */
function takeBlock(inputs: Sized[], outputs: Sized[], end: 'front' | 'back'): Block | undefined {
  const peek = (list: readonly Sized[], taken: number): Sized | undefined =>
    list.at(end === 'front' ? taken : -1 - taken);
  const [a, b] = [peek(inputs, 0), peek(outputs, 0)];
  if (a === undefined || b === undefined) return undefined;
  let [takenIn, takenOut] = [1, 1];
  if (a.size === null || a.size !== b.size) {
    if (typeof a.size !== 'number' || typeof b.size !== 'number') return undefined;
    let [productIn, productOut] = [a.size, b.size];
    while (productIn !== productOut) {
      const isIn = productIn < productOut;
      const next = isIn ? peek(inputs, takenIn) : peek(outputs, takenOut);
      if (typeof next?.size !== 'number' || next.size === 0) return undefined;
      if (isIn) {
        productIn *= next.size;
        takenIn += 1;
      } else {
        productOut *= next.size;
        takenOut += 1;
      }
    }
  }
  const take = (list: Sized[], count: number): number[] =>
    (end === 'front' ? list.splice(0, count) : list.splice(list.length - count, count)).map(({ at }) => at);
  return { inputs: take(inputs, takenIn), outputs: take(outputs, takenOut), isKnown: true };
}
