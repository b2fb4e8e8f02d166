import { repeatAll, repeatEach, type Axes, type Axis } from '../axis.ts';
import type { ChannelRule, RuleContext } from '../rule.ts';

const SPATIAL = 'computes over this axis';

/**
 * Conv, W [M, C/g, k...]. g = 1: rows and columns are independent. One channel a group (depthwise): a channel goes with
 * its rows. Otherwise every group loses the same input channels of its own (they share the columns), and as many outputs.
 */
export const conv: ChannelRule = (of) => {
  const window = windowOf(of);
  if (typeof window === 'string') return window;
  const { x, channels, row, column, rows, columns, groups } = window;
  if (groups === 1) of.couple(channels, column);
  else if (columns === 1) {
    of.couple(row, repeatEach(channels, rows / groups));
    keepGroups(of, channels, groups);
  } else {
    of.couple(channels, repeatAll(column, groups));
    if (rows === groups) of.freeze(row, 'has one output channel a group');
    else of.balance(row, groups);
  }
  if (of.has(2)) of.couple(row, of.input(2)?.[0]);
  finish(of, x, row);
  return undefined;
};

/** ConvTranspose, W [C, M/g, k...]. */
export const convTranspose: ChannelRule = (of) => {
  const window = windowOf(of);
  if (typeof window === 'string') return window;
  const { x, channels, row, column, rows, columns, groups } = window;
  let out: Axis = column;
  of.couple(channels, row);
  if (groups > 1) {
    if (rows === groups) {
      of.freeze(column, 'shares its output channels between groups');
      out = repeatEach(row, columns);
      keepGroups(of, row, groups);
    } else {
      of.balance(row, groups);
      out = columns === 1 ? of.fixed('has one output channel a group') : repeatAll(column, groups);
    }
  }
  if (of.has(2)) of.couple(out, of.input(2)?.[0]);
  finish(of, x, out);
  return undefined;
};

/** The zoo's adder layer: like a convolution, with the number of input channels and a tile size in its attributes. */
export const adder: ChannelRule = (of) => {
  const [x, w] = [of.input(0), of.input(1)];
  if (x === undefined || w === undefined) return 'has an input of unknown rank';
  of.freeze([...x.slice(2), ...w.slice(2)], SPATIAL);
  const [channels, row] = [of.couple(x[1], w[1]), w[0]];
  if (row === undefined) return 'has a weight of unknown size';
  finish(of, x, row);
  of.rewrite((surgery) => {
    const { node } = of;
    if (surgery.changes(channels)) surgery.setAttribute(node, 'channels', surgery.kept(channels).length);
    if (!surgery.changes(row)) return;
    // The function runs `tile` filters at a time, a number that divides them.
    const rows = surgery.kept(row).length;
    let tile = Math.min(rows, node.int('tile', 1));
    while (rows % tile !== 0) tile -= 1;
    surgery.setAttribute(node, 'tile', tile);
  });
  return undefined;
};

interface SlidingWindow {
  readonly x: Axes;
  /** Of X. */
  readonly channels: Axis;
  /** Axes 0 and 1 of W, and their sizes. */
  readonly row: Axis;
  readonly column: Axis;
  readonly rows: number;
  readonly columns: number;
  readonly groups: number;
}

/** The axes that rules for windows couple; the spatial ones are frozen. A reason where something is not known. */
function windowOf(of: RuleContext): SlidingWindow | string {
  const [x, w] = [of.input(0), of.input(1)];
  const [rows, columns] = [of.size(1, 0), of.size(1, 1)];
  if (x === undefined || w === undefined) return 'has an input of unknown rank';
  const [channels, [row, column]] = [x[1], w];
  if (
    row === undefined ||
    column === undefined ||
    rows === undefined ||
    columns === undefined ||
    channels === undefined
  )
    return 'has a weight of unknown size';
  of.freeze([...x.slice(2), ...w.slice(2)], SPATIAL);
  return { x, channels, row, column, rows, columns, groups: of.node.int('group', 1) };
}

function keepGroups(of: RuleContext, channels: Axis, groups: number): void {
  of.rewrite((surgery) => {
    if (surgery.changes(channels)) surgery.setAttribute(of.node, 'group', surgery.size(channels, groups));
  });
}

function finish(of: RuleContext, x: Axes, out: Axis): void {
  const batch = x[0] ?? of.fixed('has no batch axis');
  of.output(0, [batch, out, ...x.slice(2).map(() => of.fixed(SPATIAL))]);
}

/** Pools over axes 2 and up: channels pass. Positions of maxima count over the whole tensor, so they freeze it. */
export const pool: ChannelRule = (of) => {
  const x = of.input(0);
  if (x === undefined) return 'has an input of unknown rank';
  of.freeze(x.slice(2), SPATIAL);
  if ((of.node.outputs[1] ?? '') !== '') return 'also gives positions, which count over the whole tensor';
  of.output(0, [...x.slice(0, 2), ...x.slice(2).map(() => of.fixed(SPATIAL))]);
  return undefined;
};
