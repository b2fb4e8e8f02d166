import type { AttributeValue } from '../node.ts';

/** What the specification says of one operator from one version on. */
export interface OperatorSchema {
  readonly domain: string;
  readonly opType: string;
  readonly sinceVersion: number;
  readonly isDeprecated: boolean;
  readonly inputs: Arity;
  readonly outputs: Arity;
  readonly attributes: ReadonlyMap<string, AttributeSchema>;
}

/** `max` is Infinity for a variadic last one; `optional` lists positions below `min` that may be left empty. */
export interface Arity {
  readonly min: number;
  readonly max: number;
  readonly optional: readonly number[];
}

export interface AttributeSchema {
  readonly kind: AttributeValue['kind'];
  readonly isRequired: boolean;
}

const KINDS: Readonly<Record<string, AttributeValue['kind']>> = {
  f: 'float',
  i: 'int',
  s: 'string',
  t: 'tensor',
  g: 'graph',
  sp: 'sparse-tensor',
  type: 'type',
  fs: 'floats',
  is: 'ints',
  ss: 'strings',
  ts: 'tensors',
  gs: 'graphs',
  sps: 'sparse-tensors',
  types: 'types',
};

/**
 * Reads a table of operators, one to a line, an indented line going on with the one before:
 *
 *     Name versions | inputs | outputs | attributes
 *     Clip 11,12,13 | 1-3 | 1
 *     Concat 4,11,13 | 1-* | 1 | axis!=i
 *
 * Versions are the opsets whose text is the same as far as this table goes. Arity is a number or a range, `*` for any
 * number; `~2,5` after it lists optional positions. An attribute is `name=kind`, `name!=kind` when required (kinds: f
 * float, i int, s string, t tensor, g graph, sp sparse tensor, type, and the plurals fs, is, ss …). `deprecated` stands in
 * the place of the rest where a version removes the operator.
 *
 * @returns schemas by operator type, each list in ascending version order
 */
export function parseSchemas(domain: string, table: string): Map<string, OperatorSchema[]> {
  const schemas = new Map<string, OperatorSchema[]>();
  for (const line of table.trim().replaceAll(/\n\s+/g, ' ').split('\n')) {
    const [head = '', inputs = '', outputs = '', attributes = ''] = line.split(' | ');
    const [opType = '', versions = ''] = head.split(' ');
    const isDeprecated = inputs === 'deprecated';
    for (const version of versions.split(',')) {
      const schema: OperatorSchema = {
        domain,
        opType,
        sinceVersion: Number(version),
        isDeprecated,
        inputs: parseArity(isDeprecated ? '0-*' : inputs),
        outputs: parseArity(isDeprecated ? '0-*' : outputs),
        attributes: parseAttributes(attributes),
      };
      const list = schemas.get(opType);
      if (list === undefined) schemas.set(opType, [schema]);
      else list.push(schema);
    }
  }
  for (const list of schemas.values()) list.sort((a, b) => a.sinceVersion - b.sinceVersion);
  return schemas;
}

function parseArity(text: string): Arity {
  const [range = '', optional] = text.split('~');
  const [min = '', max = min] = range.split('-');
  return {
    min: Number(min),
    max: max === '*' ? Infinity : Number(max),
    optional: optional === undefined ? [] : optional.split(',').map(Number),
  };
}

function parseAttributes(text: string): Map<string, AttributeSchema> {
  const attributes = new Map<string, AttributeSchema>();
  for (const entry of text.split(' ')) {
    const [name = '', code = ''] = entry.split('=');
    const kind = KINDS[code];
    if (kind === undefined) continue;
    const isRequired = name.endsWith('!');
    attributes.set(isRequired ? name.slice(0, -1) : name, { kind, isRequired });
  }
  return attributes;
}
