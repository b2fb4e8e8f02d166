/**
 * A protobuf field the IR has no place for: kept as it came, so that a round trip loses nothing. `data` is what follows
 * the tag on the wire (with the length in front for wire type 2).
 */
export interface UnknownField {
  readonly no: number;
  readonly wireType: number;
  readonly data: Uint8Array;
}
export type UnknownFields = readonly UnknownField[];

/** Key/value strings in file order (metadata_props and the like). */
export type StringEntries = readonly { readonly key: string; readonly value: string }[];
