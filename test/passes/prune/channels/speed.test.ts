import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeModel } from '../../../../src/onnx/codec/encode.ts';
import type { Model } from '../../../../src/onnx/model.ts';
import { emptyCostTable } from '../../../../src/passes/cost/kernel-cost-table.ts';
import { runStep } from '../../../../src/passes/pass-manager.ts';
import { ChannelChooser } from '../../../../src/passes/prune/channels/choose-channels.ts';
import { payingWidths } from '../../../../src/passes/prune/channels/paying-widths.ts';
import { pruneChannels } from '../../../../src/passes/prune/channels/prune-channels.ts';
import type { ChannelGroup } from '../../../../src/passes/prune/groups/channel-groups.ts';
import { buildArchitecture } from '../../../../src/zoo/build-architecture.ts';
import { blockedTable, int8Table } from '../../cost/helpers.ts';
import { contextOf, source } from '../../quantize/helpers.ts';

interface Details {
  readonly macs: { readonly share: number };
  readonly latency?: {
    readonly costTable: string;
    readonly arithmetic: string;
    readonly beforeNs: number;
    readonly afterNs: number;
    readonly share: number;
    readonly moved: readonly { readonly of: number; readonly from: number; readonly to: number }[];
  };
  readonly groups: readonly { readonly name: string; readonly of: number; readonly kept: number }[];
}

const resnet20 = (): Model => buildArchitecture({ architecture: 'resnet', depth: 20, shortcut: 'pad' }, 1);
const resnet8 = (): Model => buildArchitecture({ architecture: 'resnet', depth: 8, shortcut: 'pad' }, 1);

async function prune(options: object, costTable = blockedTable(), model = resnet8(), int8Ahead = false) {
  const step = { pass: pruneChannels, options: pruneChannels.options.parse(options) };
  const context = contextOf(source('input', [1, 3, 32, 32]), { costTable, int8Ahead });
  const { details, ...result } = await runStep(model, step, context);
  return { ...result, model, details: details as unknown as Details };
}

const keptOf = ({ groups }: Details): string => groups.map(({ kept }) => kept).join(' ');

describe('paying widths', () => {
  const chooser = (sizes: readonly number[], roundTo = 1) => {
    const groups = sizes.map((size) => ({
      group: { id: 0, roots: new Int32Array(size), members: [], signature: '' } satisfies ChannelGroup,
      scores: new Float64Array(size),
    }));
    return new ChannelChooser(groups, { scope: 'global', roundTo, maxRatio: 0.9 });
  };
  /** Whole blocks of four, in 1 ns a block; a number that is no multiple of two takes half as long again. */
  const timeOf = (kept: readonly number[]): number =>
    kept.reduce((sum, width) => sum + Math.ceil(width / 4) * (width % 2 === 0 ? 1 : 1.5), 0);

  it('are those that are not slower than a larger one', () => {
    assert.deepEqual(payingWidths(chooser([12]), [12], timeOf, false), [[2, 4, 6, 8, 10, 12]]);
  });

  it('are those that are faster than all larger ones where only time counts', () => {
    assert.deepEqual(payingWidths(chooser([12]), [12], timeOf, true), [[4, 8, 12]]);
  });

  it('keep to roundTo and to the largest share', () => {
    assert.deepEqual(payingWidths(chooser([12, 10], 3), [12, 10], timeOf, false), [
      [3, 6, 12],
      [3, 6, 10],
    ]);
  });

  it('are tried at a limited number of places', () => {
    const [widths = []] = payingWidths(chooser([1024]), [1024], (kept) => kept[0] ?? 0, false);
    assert.ok(widths.length <= 65 && widths.every((width) => width % 16 === 0), String(widths));
  });
});

describe('prune.channels with a kernel cost table', () => {
  it('moves to widths that are faster, and says which', async () => {
    const ignored = await prune({ ratio: 0.3, scope: 'local', speed: 'ignore' });
    const checked = await prune({ ratio: 0.3, scope: 'local' });
    assert.equal(keptOf(ignored.details), '12 12 23 12 45 23');
    const { latency } = checked.details;
    assert.ok(latency !== undefined && latency.afterNs < latency.beforeNs);
    assert.ok(latency.afterNs < (ignored.details.latency?.afterNs ?? 0));
    assert.equal(latency.costTable, blockedTable().hash);
    const widest = latency.moved.find(({ of }) => of === 64);
    assert.ok(widest !== undefined);
    assert.deepEqual([widest.from, widest.to % 4], [45, 0]);
  });

  it('goes by the times of int8 where the recipe ends there, or where it is told to', async () => {
    const options = { macsRatio: 0.6 };
    const inFloat = await prune(options, int8Table());
    const ahead = await prune(options, int8Table(), resnet8(), true);
    assert.deepEqual(
      [inFloat, ahead].map(({ details }) => details.latency?.arithmetic),
      ['float', 'int8'],
    );
    // By that table less than 16 outputs take the same time down to 1, and what is else no multiple of 8 longer than the next one.
    assert.match(keptOf(ahead.details), /^(4|8|16|24|32|40|48|56|64)( (4|8|16|24|32|40|48|56|64))*$/);
    assert.doesNotMatch(keptOf(inFloat.details), /^(4|8|16|24|32|40|48|56|64)( (4|8|16|24|32|40|48|56|64))*$/);
    assert.ok((ahead.details.latency?.share ?? 1) < 1);
    const told = await prune({ ...options, speed: 'check-int8' }, int8Table());
    assert.deepEqual(told.details.groups, ahead.details.groups);
    const float = await prune({ ...options, speed: 'check-float' }, int8Table(), resnet8(), true);
    assert.deepEqual(float.details.groups, inFloat.details.groups);
  });

  it('comes near to the target where the numbers of channels that pay lie far apart', async () => {
    for (const macsRatio of [0.9, 0.8, 0.7, 0.6, 0.5]) {
      const { macs } = (await prune({ macsRatio, roundTo: 8 }, int8Table(), resnet20(), true)).details;
      assert.ok(macs.share <= macsRatio && macs.share > macsRatio - 0.06, `${macs.share} for ${macsRatio}`);
    }
  });

  it('does not take a step that makes the model slower, and warns', async () => {
    const options = { ratio: 0.03, scope: 'local', include: ['stage2.*', 'stage3.*'] };
    const ignored = await prune({ ...options, speed: 'ignore' });
    assert.ok((ignored.details.latency?.share ?? 0) > 1);
    const model = resnet8();
    const before = encodeModel(model);
    const { changes, warnings, skipped } = await prune(options, blockedTable(), model);
    assert.equal(changes, 0);
    assert.deepEqual(encodeModel(model), before);
    assert.match(warnings[0] ?? '', /would be faster with a few channels less; remove more, or set speed to ignore/);
    const whole = skipped.filter(({ reason }) => reason.includes('it would not be faster, by kernel cost table'));
    assert.equal(whole.length, 1);
    assert.match(whole[0]?.reason ?? '', /with 63 of its 64 channels/);
  });

  it('does not take it in several steps either', async () => {
    for (const options of [{ ratio: 0.1, scope: 'local' }, { macsRatio: 0.9 }]) {
      const ignored = await prune({ ...options, steps: 3, speed: 'ignore' });
      assert.ok(ignored.changes > 0 && (ignored.details.latency?.share ?? 0) > 1, 'this shows nothing');
      const model = resnet8();
      const before = encodeModel(model);
      const { changes, warnings, details } = await prune({ ...options, steps: 3 }, blockedTable(), model);
      assert.ok((details.latency?.share ?? 2) <= 1, `${JSON.stringify(options)}: ${details.latency?.share}`);
      if (changes > 0) continue;
      assert.deepEqual(encodeModel(model), before);
      assert.match(warnings[0] ?? '', /set speed to ignore/);
    }
  });

  it('meets a share of time, and a limit of bytes, of the file that it writes', async () => {
    const { details } = await prune({ latencyRatio: 0.6 });
    assert.ok((details.latency?.share ?? 1) <= 0.6 && (details.latency?.share ?? 0) > 0.5);
    const whole = encodeModel(resnet8()).byteLength;
    for (const recover of ['none', 'least-squares']) {
      const half = encodeModel((await prune({ bytesRatio: 0.5, recover })).model).byteLength;
      assert.ok(half <= 0.5 * whole && half > 0.4 * whole, `${half} of ${whole}, recover ${recover}`);
      const limited = encodeModel((await prune({ maxBytes: 100_000, recover, speed: 'ignore' })).model).byteLength;
      assert.ok(limited <= 100_000 && limited > 85_000, String(limited));
    }
  });

  it('chooses the same by the same table, and as ranking does by an empty one', async () => {
    const [first, second] = [await prune({ macsRatio: 0.5 }), await prune({ macsRatio: 0.5 })];
    assert.deepEqual(encodeModel(first.model), encodeModel(second.model));
    const unknown = await prune({ macsRatio: 0.5 }, emptyCostTable());
    assert.equal(unknown.details.latency, undefined);
    const ignored = await prune({ macsRatio: 0.5, speed: 'ignore' });
    assert.deepEqual(encodeModel(unknown.model), encodeModel(ignored.model));
  });

  it('refuses a share of time without a table, and bytes that are too few', async () => {
    await assert.rejects(prune({ latencyRatio: 0.5 }, emptyCostTable()), {
      code: 'PASS_PRECONDITION',
      message: /latencyRatio goes by the kernel cost table.*give macsRatio/,
    });
    await assert.rejects(prune({ maxBytes: 10 }), {
      code: 'PASS_PRECONDITION',
      message: /maxBytes 10 cannot be reached; the smallest number is \d+ of \d+ .*speed check/s,
    });
  });
});
