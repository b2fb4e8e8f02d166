import type { StringStringEntryProto, TensorProto } from 'onnx-buf';
import type { StringEntries, UnknownFields } from '../unknown-fields.ts';

const NONE: readonly never[] = [];

export function entriesOf(entries: readonly StringStringEntryProto[]): StringEntries {
  return entries.length === 0 ? NONE : entries.map(({ key, value }) => ({ key, value }));
}

export function unknownFieldsOf(message: { readonly $unknown?: UnknownFields | undefined }): UnknownFields {
  return message.$unknown ?? NONE;
}

/** TensorProto.DataLocation.EXTERNAL is 1. `external_data` without that flag means nothing. */
export function isExternal(tensor: TensorProto): boolean {
  const location: number = tensor.dataLocation;
  return location === 1;
}
