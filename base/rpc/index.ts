export {
  type AuthenticatedConnection,
  type AuthenticatedPeer,
  type AuthOptions,
  acceptAuthenticated,
  acceptPeer,
  connectAuthenticated,
  connectPeer,
  PROTOCOL_VERSION,
} from './auth.js';
export type { FrontDoor, FrontDoorImplementation, FrontDoorOptions, HealthReport } from './front-door.js';
export type { HttpHandler, HttpRequest, HttpRequestHead, HttpResponse, HttpRouteOptions } from './http-route.js';
export { BODY_BYTES_MAX, bearerToken, jsonResponse } from './http-router.js';
export { memoryNetwork } from './memory-network.js';
export { type NodeNetworkOptions, nodeNetwork } from './network.js';
export {
  type CuttableNetwork,
  type NetworkUnderTest,
  networkContract,
  networkCutContract,
} from './network-contract.js';
export { openFrontDoor } from './open-front-door.js';
export type { RpcHandler, RpcPeer } from './peer.js';
export { type RpcPeerOptions, rpcPeer } from './rpc-peer.js';
export { unixNetwork } from './unix-network.js';
export { webSocketNetwork } from './web-socket-network.js';
