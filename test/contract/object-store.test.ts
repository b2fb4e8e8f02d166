import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { describeObjectStore } from './object-store.ts';

describeObjectStore('file system', {
  skip: false,
  start: async () => {
    const root = await mkdtemp(join(tmpdir(), 'tersor-store-'));
    return {
      store: new FileSystemStore(root),
      other: new FileSystemStore(root),
      stop: () => rm(root, { recursive: true }),
    };
  },
});
