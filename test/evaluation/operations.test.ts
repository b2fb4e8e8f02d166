import assert from 'node:assert/strict';
import { it } from 'node:test';
import { buildReport } from '../../src/evaluation/build-report.ts';
import { renderHtml } from '../../src/evaluation/html/render-html.ts';
import { measureModel } from '../../src/evaluation/measure-model.ts';
import { Report } from '../../src/schemas/report.ts';
import { buildArchitecture } from '../../src/zoo/build-architecture.ts';
import { withContext } from './helpers.ts';
import { evaluation, facts } from './report-fixture.ts';

/** Channels 4, 8, 16 on maps of 8, 4 and 2 pixels; output elements times patch length, layer by layer. */
const STEM_AND_HEAD = 4 * 64 * 27 + 10 * 16;
const BETWEEN =
  2 * (4 * 64 * 36) + (8 * 16 * 36 + 8 * 16 * 72 + 8 * 16 * 4) + (16 * 4 * 72 + 16 * 4 * 144 + 16 * 4 * 8);
const OPTIONS = { depth: 8, width: 0.25, inputSize: 8 };

it('the report counts additions and multiplications of adder layers apart', async () => {
  await withContext(async (context, write) => {
    const adder = await write(
      'adder.onnx',
      buildArchitecture({ architecture: 'addernet', head: 'linear', ...OPTIONS }, 1),
    );
    const conv = await write('conv.onnx', buildArchitecture({ architecture: 'resnet', ...OPTIONS }, 1));
    const measured = await measureModel(context, adder, 'result', []);
    assert.deepEqual(measured.operations, {
      multiplications: STEM_AND_HEAD,
      additions: STEM_AND_HEAD + 2 * BETWEEN,
      adderOperations: BETWEEN,
    });
    assert.equal(measured.macs, STEM_AND_HEAD);
    const { operations } = await measureModel(context, conv, 'baseline', []);
    const products = STEM_AND_HEAD + BETWEEN;
    assert.deepEqual(operations, { multiplications: products, additions: products, adderOperations: 0 });

    const report = buildReport(facts({ evaluation: evaluation({ result: { operations: measured.operations } }) }));
    assert.deepEqual(Report.parse(report).result.operations, measured.operations);
    assert.match(renderHtml(report), /Distances in adder layers[^]*47\.1 k/);
  });
});

it('says nothing of distances where there are none', () => {
  const operations = { multiplications: 5, additions: 5, adderOperations: 0 };
  const page = renderHtml(buildReport(facts({ evaluation: evaluation({ result: { operations } }) })));
  assert.doesNotMatch(page, /adder layers/);
});
