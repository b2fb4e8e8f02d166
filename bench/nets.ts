import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { bindFeeds, type BindRole } from '../src/data/bind-feeds.ts';
import { openDataset } from '../src/data/open-dataset.ts';
import { loadModel } from '../src/onnx/codec/load.ts';
import type { FeedSource } from '../src/passes/pass.ts';

/** An image classifier with its data: uint8 NCHW images, x = (pixel / 255 - mean) / std. Paths are relative to the list's folder. */
const NetSchema = z.strictObject({
  name: z.string().regex(/^[\w.() -]+$/),
  model: z.string(),
  /** The first images calibrate, those behind them tell `int8-accurate` what it loses. */
  calibration: z.string(),
  evaluation: z.string(),
  mean: z.array(z.number()),
  std: z.array(z.number()),
  /** Images of a run while calibrating: 1 for models whose batch is fixed to it. */
  batch: z.int().positive().default(16),
  /** Test images; absent: all. */
  images: z.int().positive().optional(),
});
export type Net = z.output<typeof NetSchema>;

export const CALIBRATION_IMAGES = 512;
/** By which `int8-accurate` chooses: of the training data, so that the test images have no part in it. */
const CHOICE_IMAGES = 2000;

export function readNets(path: string): readonly Net[] {
  const nets = z.array(NetSchema).parse(JSON.parse(readFileSync(path, 'utf8')));
  const absolute = (file: string): string => resolve(dirname(path), file);
  return nets.map((net) => ({
    ...net,
    model: absolute(net.model),
    calibration: absolute(net.calibration),
    evaluation: absolute(net.evaluation),
  }));
}

/** Images of a net: those ranges are found by, others of the training data that candidates are chosen by, those that are scored. */
export const PartSchema = z.enum(['calibration', 'choice', 'test']);
export type Part = z.output<typeof PartSchema>;

/** Feeds of a net, and what closes the file behind them. */
export async function feedsOf(net: Net, part: Part): Promise<{ feeds: FeedSource; close: () => Promise<void> }> {
  const { graph } = await loadModel(net.model);
  const inputs = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
  const dataset = await openDataset(part === 'test' ? net.evaluation : net.calibration);
  const preprocess = {
    scale: 1 / 255,
    mean: net.mean,
    std: net.std,
    layout: 'nchw',
    channelOrder: 'rgb',
    resize: null,
  } as const;
  const chosen: Pick<BindRole, 'range' | 'samples'> =
    part === 'test'
      ? { samples: net.images }
      : part === 'choice'
        ? { range: [CALIBRATION_IMAGES, CALIBRATION_IMAGES + CHOICE_IMAGES] }
        : { samples: CALIBRATION_IMAGES };
  const role = part === 'calibration' ? 'calibration' : 'evaluation';
  const feeds = bindFeeds(dataset, { role, preprocess, ...chosen }, inputs);
  return { feeds, close: () => dataset.close() };
}
