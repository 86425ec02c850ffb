/** Guards nothing: both sides are ours, and the socket is in a folder of the run or on the loopback. */
export const RPC_TOKEN = new Uint8Array(16).fill(7);
