import { DEFAULT_DOMAIN_A_TO_L } from './default-domain-a-l.ts';
import { DEFAULT_DOMAIN_M_TO_Z } from './default-domain-m-z.ts';
import { MICROSOFT_DOMAIN } from './microsoft-domain.ts';
import { ML_DOMAIN } from './ml-domain.ts';
import { parseSchemas, type OperatorSchema } from './parse-schemas.ts';

/** Newest version of each domain that ONNX Runtime 1.30 loads. */
export const NEWEST_VERSION: ReadonlyMap<string, number> = new Map([
  ['', 26],
  ['ai.onnx.ml', 5],
  ['com.microsoft', 1],
]);

const SCHEMAS: ReadonlyMap<string, ReadonlyMap<string, readonly OperatorSchema[]>> = new Map([
  ['', parseSchemas('', DEFAULT_DOMAIN_A_TO_L + DEFAULT_DOMAIN_M_TO_Z.trimStart())],
  ['ai.onnx.ml', parseSchemas('ai.onnx.ml', ML_DOMAIN)],
  ['com.microsoft', parseSchemas('com.microsoft', MICROSOFT_DOMAIN)],
]);

/**
 * The schema that an operator has when its domain is imported at `version`: the newest that is not newer.
 * @returns undefined when the table has no such operator, or it came later
 */
export function schemaOf(domain: string, opType: string, version: number): OperatorSchema | undefined {
  return SCHEMAS.get(domain)
    ?.get(opType)
    ?.findLast((schema) => schema.sinceVersion <= version);
}

/** The version that brought the operator; undefined when the table does not have it. */
export function firstVersionOf(domain: string, opType: string): number | undefined {
  return SCHEMAS.get(domain)?.get(opType)?.[0]?.sinceVersion;
}

/** Operator types of a domain, in alphabetical order. */
export function operatorsOf(domain: string): string[] {
  return [...(SCHEMAS.get(domain)?.keys() ?? [])].sort();
}
