import { ExampleEnvironment } from './example-client.js';
import { ExampleService } from './example-service.js';
import type { ShufflePlugin } from './plugin.js';
import { RemoteMaster } from './remote-master.js';

/**
 * A shuffle of its own kind, complete and simple: every buffer travels over the connection to the daemon, which keeps it on its
 * heap. `millrace run job.ts --shuffle ./example-plugin.js`. To be read in this order:
 *
 *     example-message.ts   what is said over the connection
 *     example-log.ts       one subpartition: kept buffers, cursors
 *     example-service.ts   writers, fences, flow control, retention   openService
 *     example-client.ts    writers and gates                          openClient
 *
 * `MasterServer` and `RemoteMaster` carry the master's calls, so that only the data need a protocol of their own.
 */
const plugin: ShufflePlugin = {
  name: 'example',
  openService: async ({ settings }) => new ExampleService(settings),
  async openClient({ peer, clock }) {
    const environment = new ExampleEnvironment(peer, clock);
    return { master: new RemoteMaster(peer), environment, close: () => environment.close() };
  },
};

export default plugin;
