import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileSystemStore } from '../../src/storage/filesystem.ts';
import { S3Store } from '../../src/storage/s3.ts';
import { skipWithout, startS3 } from '../helpers/services.ts';
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

describeObjectStore('S3 (versitygw)', {
  skip: skipWithout('versitygw'),
  start: async () => {
    const server = await startS3();
    const client = () => new S3Store({ ...server, prefix: 'some/prefix' });
    return { store: client(), other: client(), stop: () => server.stop() };
  },
});
