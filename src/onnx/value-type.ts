import type { DataType } from './data-type.ts';
import type { StringEntries, UnknownFields } from './unknown-fields.ts';

/** A fixed size, a symbolic name (`dim_param`), or null when nothing is known. */
export type Dimension = number | string | null;
export type Shape = readonly Dimension[];

/** What a type says beside its structure: `denotation` of the type ("IMAGE"), and of each dimension ("DATA_BATCH"). */
export interface TypeNotes {
  readonly denotation?: string;
  /** One for each dimension, empty where there is none. */
  readonly dimensionDenotations?: readonly string[];
}

/** TypeProto. A tensor without `shape` has unknown rank. `opaque` keeps types we do not interpret, as their bytes. */
export type ValueType = TypeNotes &
  (
    | { readonly kind: 'tensor'; readonly elementType: DataType; readonly shape?: Shape }
    | { readonly kind: 'sparse-tensor'; readonly elementType: DataType; readonly shape?: Shape }
    | { readonly kind: 'sequence'; readonly element: ValueType }
    | { readonly kind: 'optional'; readonly element: ValueType }
    | { readonly kind: 'map'; readonly keyType: DataType; readonly value: ValueType }
    | { readonly kind: 'opaque'; readonly bytes: Uint8Array }
  );

/** ValueInfoProto: a name with its type, where known. */
export interface ValueInfo {
  readonly name: string;
  readonly type?: ValueType | undefined;
  readonly docString?: string;
  readonly metadata?: StringEntries;
  readonly unknownFields?: UnknownFields;
}

export function tensorValue(name: string, elementType: DataType, shape?: Shape): ValueInfo {
  return { name, type: shape === undefined ? { kind: 'tensor', elementType } : { kind: 'tensor', elementType, shape } };
}
