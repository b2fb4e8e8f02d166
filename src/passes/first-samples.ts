import type { FeedBatch, FeedSource } from './pass.ts';

const BATCH = 32;

/** The first samples of a source, about so many: batches stay whole. */
export function firstSamples(source: FeedSource, samples: number): FeedSource {
  if (samples >= source.samples) return source;
  return {
    samples,
    async *batches(batchSize = Math.min(BATCH, samples)): AsyncGenerator<FeedBatch> {
      let given = 0;
      for await (const batch of source.batches(batchSize)) {
        yield batch;
        given += batch.count;
        if (given >= samples) return;
      }
    },
  };
}
