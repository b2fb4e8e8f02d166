import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { balanceChannels, type Balance } from '../../../src/passes/prune/groups/balance.ts';
import { ChannelAtoms } from '../../../src/passes/prune/groups/channel-atoms.ts';

const reason = 'no counterpart';

/** Indices of the positions by channel. */
function channelsOf(positions: Int32Array, atoms: ChannelAtoms): number[][] {
  const byRoot = new Map<number, number[]>();
  positions.forEach((atom, index) => {
    const root = atoms.root(atom);
    byRoot.set(root, [...(byRoot.get(root) ?? []), index]);
  });
  return [...byRoot.values()];
}

describe('balanceChannels', () => {
  it('takes the first of each part together, the second of each, and so on', () => {
    const atoms = new ChannelAtoms();
    const positions = atoms.fresh(12);
    balanceChannels([{ atoms: positions, parts: 3, reason }], atoms);
    assert.deepEqual(channelsOf(positions, atoms), [
      [0, 4, 8],
      [1, 5, 9],
      [2, 6, 10],
      [3, 7, 11],
    ]);
  });

  it('finds the smallest bundles of channels that lie in two of three parts each', () => {
    const atoms = new ChannelAtoms();
    const positions = atoms.fresh(12);
    // Two channels each in parts 0 and 1, 0 and 2, 1 and 2.
    const partners = [4, 5, 8, 9, 10, 11];
    [0, 1, 2, 3, 6, 7].forEach((atom, index) => atoms.unite(atom, partners[index] ?? 0));
    balanceChannels([{ atoms: positions, parts: 3, reason }], atoms);
    assert.deepEqual(
      channelsOf(positions, atoms).map((channel) => channel.length),
      [6, 6],
    );
  });

  it('freezes what frozen channels leave without a counterpart', () => {
    const atoms = new ChannelAtoms();
    const positions = atoms.fresh(6);
    atoms.freeze(1, 'used elsewhere');
    balanceChannels([{ atoms: positions, parts: 2, reason }], atoms);
    assert.deepEqual(
      Array.from(positions, (atom) => atoms.frozenReason(atom)),
      [undefined, 'used elsewhere', undefined, undefined, undefined, reason],
    );
    assert.deepEqual(channelsOf(positions, atoms), [[0, 3], [1], [2, 4], [5]]);
  });

  it('leaves every channel that may go even in all axes, whatever was united or frozen before', () => {
    const axis = fc.record({ parts: fc.integer({ min: 2, max: 4 }), size: fc.integer({ min: 1, max: 5 }) });
    const pair = fc.tuple(fc.nat(39), fc.nat(39));
    fc.assert(
      fc.property(
        fc.array(axis, { minLength: 1, maxLength: 3 }),
        fc.array(pair, { maxLength: 12 }),
        fc.array(fc.nat(39), { maxLength: 3 }),
        (axes, pairs, frozen) => {
          const atoms = new ChannelAtoms();
          const positions = atoms.fresh(40);
          for (const [a, b] of pairs) atoms.unite(a, b);
          for (const atom of frozen) atoms.freeze(atom, 'used elsewhere');
          const balances = axes.map(({ parts, size }, index): Balance => ({
            atoms: positions.subarray(3 * index, 3 * index + parts * size),
            parts,
            reason,
          }));
          balanceChannels(balances, atoms);
          for (const { atoms: own, parts } of balances) {
            for (const channel of channelsOf(own, atoms)) {
              if (atoms.frozenReason(own[channel[0] ?? 0] ?? 0) !== undefined) continue;
              const counts = Array<number>(parts).fill(0);
              for (const index of channel) {
                const part = Math.floor((index * parts) / own.length);
                counts[part] = (counts[part] ?? 0) + 1;
              }
              assert.equal(new Set(counts).size, 1);
            }
          }
        },
      ),
    );
  });
});
