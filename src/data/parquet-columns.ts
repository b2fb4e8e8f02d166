import { parquetSchema, type FileMetaData, type SchemaTree } from 'hyparquet';
import type { NumericType } from './npy-header.ts';

/** A column that models can use: numbers, one or nested lists of them a row, or encoded images. */
export type ParquetColumn =
  | { readonly kind: 'numbers'; readonly name: string; readonly type: NumericType; readonly depth: number }
  | { readonly kind: 'bytes'; readonly name: string; readonly inStruct: boolean };

/** The usable top-level columns, in file order; `ignored` counts the others (text, dates, decimals, maps). */
export function usableColumns(metadata: FileMetaData): { readonly columns: ParquetColumn[]; readonly ignored: number } {
  const { children } = parquetSchema(metadata);
  const columns = children.map(columnOf).filter((column) => column !== undefined);
  return { columns, ignored: children.length - columns.length };
}

function columnOf(node: SchemaTree): ParquetColumn | undefined {
  const { name } = node.element;
  let leaf = node;
  let depth = 0;
  for (;;) {
    const element = listElement(leaf);
    if (element === undefined) break;
    leaf = element;
    depth += 1;
  }
  if (leaf.element.repetition_type === 'REPEATED' && depth === 0) {
    if (leaf.children.length > 0) return undefined;
    depth = 1;
  }
  const type = leaf.children.length === 0 ? numericType(leaf) : undefined;
  if (type !== undefined) return { kind: 'numbers', name, type, depth };
  if (depth > 0) return undefined;
  // Hugging Face's image feature: a struct of the encoded bytes and the path they came from.
  const bytes = node.children.find((child) => child.element.name === 'bytes');
  if (bytes !== undefined && isBinary(bytes)) return { kind: 'bytes', name, inStruct: true };
  return node.children.length === 0 && isBinary(node) ? { kind: 'bytes', name, inStruct: false } : undefined;
}

/** The element of a LIST in its standard form: group (LIST) { repeated group { element } }. */
function listElement(node: SchemaTree): SchemaTree | undefined {
  const { converted_type: converted, logical_type: logical } = node.element;
  if (converted !== 'LIST' && logical?.type !== 'LIST') return undefined;
  const [repeated] = node.children;
  if (repeated?.element.repetition_type !== 'REPEATED') return undefined;
  return repeated.children.length === 1 ? repeated.children[0] : repeated.children.length === 0 ? repeated : undefined;
}

function isBinary({ element }: SchemaTree): boolean {
  return element.type === 'BYTE_ARRAY' && element.converted_type === undefined && element.logical_type === undefined;
}

function numericType({ element }: SchemaTree): NumericType | undefined {
  const { type, converted_type: converted, logical_type: logical } = element;
  if (type === 'BOOLEAN') return 'bool';
  if (type === 'FLOAT') return 'float';
  if (type === 'DOUBLE') return 'double';
  if (type === 'FIXED_LEN_BYTE_ARRAY' && logical?.type === 'FLOAT16') return 'float16';
  if (type !== 'INT32' && type !== 'INT64') return undefined;
  const plain: NumericType = type === 'INT32' ? 'int32' : 'int64';
  if (logical?.type === 'INTEGER') return INTEGERS.get(`${logical.isSigned ? 'INT' : 'UINT'}_${logical.bitWidth}`);
  if (logical !== undefined) return undefined;
  return converted === undefined ? plain : INTEGERS.get(converted);
}

const INTEGERS: ReadonlyMap<string, NumericType> = new Map<string, NumericType>([
  ['INT_8', 'int8'],
  ['UINT_8', 'uint8'],
  ['INT_16', 'int16'],
  ['UINT_16', 'uint16'],
  ['INT_32', 'int32'],
  ['UINT_32', 'uint32'],
  ['INT_64', 'int64'],
  ['UINT_64', 'uint64'],
]);

/** Class names that Hugging Face's `datasets` writes for a label column, in the order of the labels. */
export function classNames(metadata: FileMetaData, labelColumns: readonly string[]): readonly string[] | undefined {
  const text = metadata.key_value_metadata?.find(({ key }) => key === 'huggingface')?.value;
  if (text === undefined) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Only a courtesy of the writer: without it the labels have no names.
    return undefined;
  }
  for (const column of labelColumns) {
    const names = field(field(field(field(parsed, 'info'), 'features'), column), 'names');
    if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names;
  }
  return undefined;
}

function field(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Readonly<Record<string, unknown>>)[key]; // an object with this key, as just checked
}
