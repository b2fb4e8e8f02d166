/** A protobuf field this version does not know: kept as it came, so that a round trip loses nothing. */
export interface UnknownField {
  readonly no: number;
  readonly wireType: number;
  readonly data: Uint8Array;
}
export type UnknownFields = readonly UnknownField[];

/** Key/value strings in file order (metadata_props and the like). */
export type StringEntries = readonly { readonly key: string; readonly value: string }[];
