import { setImmediate } from 'node:timers/promises';
import type { Model } from '../../../onnx/model.ts';
import type { PassContext, PassResult, Skipped } from '../../pass.ts';
import { nodeLabel } from '../node-filter.ts';
import { observableWeights, quantizeCalibrated, type CalibratedWeights } from './calibrated.ts';
import { findWeights, type SharedWeight } from './find-sites.ts';
import { hqqRows } from './hqq.ts';
import { searchedRows } from './k-quant.ts';
import type { LayerReport } from './layer-report.ts';
import { bytesOf, siteObstacle } from './obstacle.ts';
import type { Algorithm, WeightsOptions } from './options.ts';
import { quantizeWeight, roundWeight, storeFor, type WeightFormat } from './quantize-weight.ts';
import { addError, type RowQuantizer } from './quantized-rows.ts';
import { rowsOf } from './read-rows.ts';
import type { StoredCodes } from './stored-codes.ts';
import { WeightWriter } from './weight-writer.ts';

/** Quantizes the weights of a model, one after the other: whatever the model's size, memory is that of one stripe of one weight. */
export async function quantizeModel(model: Model, options: WeightsOptions, context: PassContext): Promise<PassResult> {
  const { weights, skipped } = findWeights(model, {
    blockSize: options.blockSize,
    filter: { include: options.include, exclude: options.exclude },
    obstacle: (site) => siteObstacle(site, options),
  });
  const run = new WeightRun(model, options, context);
  const { algorithm } = options;
  const feeds = context.data.calibration;
  const isCalibrated = feeds !== undefined && (algorithm === 'gptq' || algorithm === 'awq');
  const { observable, others }: CalibratedWeights = isCalibrated
    ? observableWeights(model, weights)
    : { observable: [], others: weights.map((weight) => ({ weight, reason: '' })) };
  for (const [index, { weight, reason }] of others.entries()) {
    // Between weights the event loop runs, so that a cancel arrives.
    await setImmediate();
    context.progress(index / weights.length, `quantizing ${weight.sites[0]?.constant.tensor.name ?? ''}`);
    run.quantize(weight, isCalibrated ? { algorithm: 'k-quant', reason } : { algorithm });
  }
  if (isCalibrated) {
    await quantizeCalibrated(observable, {
      model,
      options,
      context: { ...context, feeds },
      refuse: (weight, reason) => run.refuse(weight, reason),
      store({ weight, quantized, report }) {
        const [site] = weight.sites;
        if (site === undefined) return;
        const { tensor, owner } = site.constant;
        const lost = { error: 0, energy: 0 };
        const current = owner.initializers.get(tensor.name) ?? tensor;
        addError(lost, rowsOf(current.floats(), site.view), quantized, site.view);
        const store = storeFor(site, run.format);
        store.add(quantized);
        run.write(weight, store.finish(tensor.name), { ...report, weightError: shareOf(lost) });
      },
    });
  }
  context.progress(1);
  return {
    changes: run.layers.length,
    skipped: [...skipped, ...run.skipped],
    warnings: [],
    details: { layers: run.layers },
  };
}

/** What is written so far. */
class WeightRun {
  readonly layers: LayerReport[] = [];
  readonly skipped: Skipped[] = [];
  readonly format: WeightFormat;
  readonly #options: WeightsOptions;
  readonly #context: PassContext;
  readonly #writer: WeightWriter;

  constructor(model: Model, options: WeightsOptions, context: PassContext) {
    const { format, bits, symmetric, algorithm } = options;
    this.#options = options;
    this.#context = context;
    this.#writer = new WeightWriter(model, options);
    this.format = {
      format,
      scheme: { bits, symmetric },
      floatZeros: algorithm === 'hqq' && format === 'matmulnbits',
      spool: context.spool,
    };
  }

  /** Without data, stripe by stripe. */
  quantize(weight: SharedWeight, how: { readonly algorithm: Algorithm; readonly reason?: string }): void {
    const [site] = weight.sites;
    if (site === undefined) return;
    // Embeddings are stored as codes throughout, zero points included.
    const floatZeros = this.format.floatZeros && site.kind === 'product';
    const format = { ...this.format, floatZeros };
    const { signal } = this.#context;
    const result =
      how.algorithm === 'rtn'
        ? roundWeight(site, format, signal)
        : quantizeWeight(site, format, this.#quantizer(how.algorithm, floatZeros), signal);
    if ('reason' in result) this.refuse(weight, result.reason);
    else this.write(weight, result.stored, { ...how, weightError: shareOf(result.lost) });
  }

  write(
    weight: SharedWeight,
    stored: StoredCodes,
    report: Omit<LayerReport, 'nodes' | 'operator' | 'weight' | 'shape' | 'bits' | 'blockSize' | 'bytes'>,
  ): void {
    const [site] = weight.sites;
    if (site === undefined) return;
    const { tensor } = site.constant;
    this.#writer.write(weight.sites, stored);
    this.layers.push({
      nodes: weight.sites.map(({ node }) => nodeLabel(node)),
      operator: site.node.opType,
      weight: tensor.name,
      shape: tensor.dims,
      bits: this.#options.bits,
      blockSize: site.view.blockSize,
      ...report,
      bytes: { before: tensor.byteLength, after: bytesOf(site, this.#options) },
    });
  }

  refuse(weight: SharedWeight, reason: string): void {
    for (const { node } of weight.sites) this.skipped.push({ node: nodeLabel(node), reason });
  }

  #quantizer(algorithm: Algorithm, floatZeros: boolean): RowQuantizer {
    const { scheme } = this.format;
    return algorithm === 'hqq'
      ? (values, view) => hqqRows(values, view, scheme, floatZeros)
      : (values, view) => searchedRows(values, view, scheme);
  }
}

function shareOf({ error, energy }: { readonly error: number; readonly energy: number }): number {
  return energy > 0 ? error / energy : 0;
}
