import { describe, it } from 'node:test';
import { systemClock } from '../base/index.js';
import { blobStoreContract, runBlobStoreCase } from './blob-store-contract.js';
import { S3BlobStore } from './s3-blob-store.js';
import { TestS3Server } from './s3-server.test.support.js';

describe('blob store: S3, the small server', () => {
  for (const contractCase of blobStoreContract) {
    it(contractCase.name, () =>
      runBlobStoreCase(contractCase, async () => {
        const s3 = await TestS3Server.listen({ pageKeysMax: 4 });
        const open = () =>
          S3BlobStore.open({ bucket: 'test-bucket', prefix: 'team=a/job', server: s3.server, clock: systemClock() });
        const [one, other] = [await open(), await open()];
        const close = async () => {
          for (const store of [one, other]) store.close();
          await s3.close();
        };
        return { one, other, close };
      }),
    );
  }
});
