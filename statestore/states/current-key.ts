/** The key of the row being processed; set by the operator before it calls a user's function. */
export interface CurrentKey {
  readonly keyGroup: number;
  readonly hash: number;
  readonly key: Uint8Array;
}
