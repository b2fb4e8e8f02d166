/** What a model file may cost before it is decoded. Bounds for hostile bytes; no real model comes near the defaults. */
export interface DecodeLimits {
  /** Bytes of the protobuf file (external data not counted). Protobuf itself ends at 2^31 - 1. */
  readonly bytes: number;
  /** Subgraphs nested in one another (an If inside a Loop body is 2). */
  readonly subgraphDepth: number;
  /** Nodes in all graphs, subgraphs and functions together. */
  readonly nodes: number;
  readonly tensors: number;
  readonly attributes: number;
  /** Estimated heap for decoded messages, strings and numbers; the bytes of `raw_data` are views and cost nothing. */
  readonly heapBytes: number;
}

/** Protobuf length prefixes and ONNX Runtime's loader both end here. */
export const MAX_PROTOBUF_BYTES = 2 ** 31 - 1;

export const DEFAULT_DECODE_LIMITS: DecodeLimits = {
  bytes: MAX_PROTOBUF_BYTES,
  subgraphDepth: 32,
  nodes: 500_000,
  tensors: 500_000,
  attributes: 2_000_000,
  heapBytes: 2 * 2 ** 30,
};
