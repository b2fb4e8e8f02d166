import { CompressionError } from '../../errors.ts';
import type { Model, OpsetImports } from '../model.ts';
import { NEWEST_VERSION } from '../operators/operator-schemas.ts';
import { quoteName } from './quote.ts';

/** IR 3 made opset imports mandatory; 13 is the newest that ONNX Runtime 1.30 loads. */
const IR_VERSIONS = { oldest: 3, newest: 13 } as const;

/**
 * Checks the IR version and the opset imports of the model and its functions.
 * @throws CompressionError MODEL_UNSUPPORTED with what was found and what is allowed
 */
export function verifyVersions(model: Model): void {
  const { oldest, newest } = IR_VERSIONS;
  if (model.irVersion < oldest || model.irVersion > newest) {
    throw new CompressionError(
      'MODEL_UNSUPPORTED',
      `the model has IR version ${model.irVersion}, ${oldest} to ${newest} are supported; re-export it with a current exporter`,
    );
  }
  verifyImports(model.opsetImports, 'the model');
  for (const definition of model.functions)
    verifyImports(definition.opsetImports, `function ${quoteName(definition.name)}`);
}

function verifyImports(imports: OpsetImports, who: string): void {
  for (const [domain, version] of imports) {
    const allowed = NEWEST_VERSION.get(domain);
    if (allowed === undefined || (version >= 1 && version <= allowed)) continue;
    const name = domain === '' ? 'ai.onnx' : domain;
    throw new CompressionError(
      'MODEL_UNSUPPORTED',
      `${who} imports opset ${version} of ${name}, 1 to ${allowed} are supported; re-export it with a supported opset`,
    );
  }
}
