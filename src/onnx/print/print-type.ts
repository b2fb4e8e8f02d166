import type { Shape, ValueInfo, ValueType } from '../value-type.ts';
import { quoteName } from './text.ts';

/** `float[1,N,?]`, `float` (scalar), `float[]` (unknown rank), `seq(int64[])`, `opaque()`. */
export function typeText(type: ValueType): string {
  switch (type.kind) {
    case 'tensor':
      return `${type.elementType}${shapeText(type.shape)}`;
    case 'sparse-tensor':
      return `sparse_tensor(${type.elementType}${shapeText(type.shape)})`;
    case 'sequence':
      return `seq(${typeText(type.element)})`;
    case 'optional':
      return `optional(${typeText(type.element)})`;
    case 'map':
      return `map(${type.keyType}, ${typeText(type.value)})`;
    case 'opaque':
      return 'opaque()';
  }
}

export function valueInfoText(info: ValueInfo): string {
  const name = quoteName(info.name);
  return info.type === undefined ? name : `${typeText(info.type)} ${name}`;
}

function shapeText(shape: Shape | undefined): string {
  if (shape === undefined) return '[]';
  if (shape.length === 0) return '';
  const dims = shape.map((dim) => (dim === null ? '?' : typeof dim === 'number' ? String(dim) : quoteName(dim)));
  return `[${dims.join(',')}]`;
}
