import type { Dimension, Shape, ValueType } from '../value-type.ts';
import { showShape, type Inferred } from './rule.ts';

/** How a declared type may help an inferred one. */
export interface DeclaredUse {
  /** False when the declared sizes were made for other input shapes. */
  readonly useShape: boolean;
  /** True for a symbol made for a size that only the data decides: a declared size is better. */
  readonly isDataDependent: (symbol: string) => boolean;
  readonly conflict: (kind: 'element-type' | 'shape', message: string) => void;
}

/** What inference and declaration know together; where they contradict each other, inference wins and it is reported. */
export function mergeDeclared(
  inferred: Inferred | undefined,
  declared: ValueType,
  use: DeclaredUse,
): Inferred | undefined {
  if (inferred === undefined) return { type: use.useShape ? declared : withoutShape(declared) };
  const { type } = inferred;
  if (type.kind !== 'tensor' || declared.kind !== 'tensor') {
    if (type.kind !== declared.kind && declared.kind !== 'opaque') {
      use.conflict('element-type', `is declared as ${describe(declared)}, but it is ${describe(type)}`);
    }
    return inferred;
  }
  if (type.elementType !== declared.elementType) {
    use.conflict('element-type', `is declared as ${describe(declared)}, but it is ${describe(type)}`);
    return inferred;
  }
  if (!use.useShape || declared.shape === undefined) return inferred;
  if (type.shape === undefined) return { ...inferred, type: { ...type, shape: declared.shape } };
  const shape = mergedShape(type.shape, declared.shape, use);
  if (shape === undefined) {
    use.conflict('shape', `is declared as ${showShape(declared.shape)}, but it is ${showShape(type.shape)}`);
    return inferred;
  }
  return { ...inferred, type: { ...type, shape } };
}

function mergedShape(inferred: Shape, declared: Shape, use: DeclaredUse): Shape | undefined {
  if (inferred.length !== declared.length) return undefined;
  const merged: Dimension[] = [];
  for (const [axis, size] of inferred.entries()) {
    const other = declared[axis] ?? null;
    if (typeof size === 'number' && typeof other === 'number' && size !== other) return undefined;
    const isOpen = size === null || (typeof size === 'string' && use.isDataDependent(size));
    merged.push(isOpen ? (other ?? size) : size);
  }
  return merged;
}

function withoutShape(type: ValueType): ValueType {
  return type.kind === 'tensor' ? { kind: 'tensor', elementType: type.elementType } : type;
}

function describe(type: ValueType): string {
  switch (type.kind) {
    case 'tensor':
    case 'sparse-tensor':
      return `a ${type.kind} of ${type.elementType}`;
    case 'sequence':
    case 'optional':
      return `${type.kind} of ${describe(type.element)}`;
    case 'map':
      return `a map from ${type.keyType}`;
    case 'opaque':
      return 'an opaque type';
  }
}
