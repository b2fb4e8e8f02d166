import { opsetOf, type Model } from '../../../onnx/model.ts';
import { distillationModels } from '../../distillation-field.ts';
import type { DataRole, PassContext, PassResult } from '../../pass.ts';
import { parametersOf } from '../../../training/parameters.ts';
import type { SignOptions } from './options.ts';

/** What the passes that train signs have in common. */
export const signPass = {
  stage: 'quantize',
  needs: ({ training }: Pick<SignOptions, 'training'>): readonly DataRole[] =>
    'role' in training.validation ? ['training', training.validation.role] : ['training'],
  models: distillationModels,
  requires(model: Model): string | undefined {
    if (parametersOf(model).length === 0) {
      return 'the model has no float weights to train; quantized weights cannot be trained';
    }
    const opset = opsetOf(model);
    if (opset >= NEEDED_OPSET) return undefined;
    return `the model has opset ${opset}, expected ${NEEDED_OPSET} or newer; run canonicalize first, which raises it`;
  },
  async run(model: Model, options: SignOptions, context: PassContext): Promise<PassResult> {
    // Loaded where it trains: the HTTP side lists passes, and never loads the engine.
    const { runSigns } = await import('./run-signs.ts');
    return runSigns(model, options, context);
  },
  ensures: (): undefined => undefined,
} as const;

/** Below this the opset cannot be raised to that of BitwiseAnd. */
const NEEDED_OPSET = 13;
