import type { Node } from '../../onnx/node.ts';
import { isPackedType } from '../../onnx/packed-integers.ts';
import type { PassContext } from '../pass.ts';
import type { ActivationWishes } from './activation-types.ts';
import { opsetFor, type ActivationType, type WeightType } from './quant-type.ts';
import type { StaticOptions } from './static-options.ts';
import { targetRules } from './target.ts';
import type { ComputeUnit } from './units.ts';
import { weightOverrideOf } from './weight-overrides.ts';
import type { WeightScheme } from './weights.ts';

/** What a layer is quantized to; `float`: it stays as it is. */
export type LayerChoice = { readonly weights: WeightType; readonly activations: ActivationType } | 'float';

/** Choices by the first output of a layer. A layer that is absent gets what the options say. */
export type LayerChoices = ReadonlyMap<string, LayerChoice>;

/** What quantizing is asked for: how, by the options; to which types, layer by layer. */
export interface StaticRequest {
  readonly options: StaticOptions;
  /** Absent: every layer gets the types of the options, unless the kernel cost table says that it would be slower. */
  readonly choices?: LayerChoices;
  /** First outputs of layers that were given back to float, because the model loses too much with them quantized. */
  readonly inFloat?: ReadonlySet<string>;
  /** Codes are learned for each layer as if all others were in float. */
  readonly layersAlone?: boolean;
}

export function choiceOf({ choices }: StaticRequest, node: Node): LayerChoice | undefined {
  return choices?.get(node.outputs[0] ?? '');
}

export function wishesOf(request: StaticRequest): ActivationWishes {
  const { options, choices } = request;
  const valueTypes = new Map<string, ActivationType>();
  for (const [value, { type }] of Object.entries(options.overrides))
    if (type !== undefined) valueTypes.set(value, type);
  const wishes = { activations: options.activations, valueTypes };
  if (choices === undefined) return wishes;
  const typeOfInput = (node: Node): ActivationType | undefined => {
    const choice = choiceOf(request, node);
    return choice === 'float' ? undefined : choice?.activations;
  };
  return { ...wishes, typeOfInput };
}

/** How each weight is quantized. */
export function schemesOf(request: StaticRequest, context: PassContext): (unit: ComputeUnit) => WeightScheme {
  const { options } = request;
  return ({ node }) => {
    const choice = choiceOf(request, node);
    const { type: ownType, symmetric = true, min, max } = weightOverrideOf(options, node) ?? {};
    const type = ownType ?? (choice === undefined || choice === 'float' ? options.weights : choice.weights);
    return {
      type,
      symmetric,
      ...(min === undefined || max === undefined ? {} : { interval: { min, max } }),
      // uint8 * uint8 has its own kernels, which widen to int16 before they multiply, and smaller types have none: nothing saturates.
      range: type === 'int8' ? targetRules(context).weightRange : 'full',
      powerOfTwo: options.powerOfTwoScales,
    };
  };
}

interface UsedTypes {
  readonly weights: ReadonlySet<WeightType>;
  readonly activations: ReadonlySet<ActivationType>;
}

/** Every type that a request may write. */
export function typesOf({ options, choices }: StaticRequest): UsedTypes {
  const weights = new Set<WeightType>(choices === undefined ? [options.weights] : []);
  const activations = new Set<ActivationType>([options.activations]);
  for (const { type } of Object.values(options.overrides)) if (type !== undefined) activations.add(type);
  for (const { type } of Object.values(options.weightOverrides)) if (type !== undefined) weights.add(type);
  for (const choice of choices?.values() ?? []) {
    if (choice === 'float') continue;
    weights.add(choice.weights);
    activations.add(choice.activations);
  }
  return { weights, activations };
}

export function neededOpset(request: StaticRequest): number {
  const { weights, activations } = typesOf(request);
  return Math.max(...[...weights, ...activations].map(opsetFor));
}

export function warningsOf(request: StaticRequest, { targetCpu }: PassContext): string[] {
  const { weights, activations } = typesOf(request);
  const warnings: string[] = [];
  const onArm = targetCpu === 'arm64-dotprod' || targetCpu === 'int8-only';
  if ([...activations].some((type) => type.endsWith('16'))) {
    warnings.push(
      'CPUs have no kernels for 16-bit activations: the model computes in float between quantizers and is slower',
    );
  } else if (activations.has('int8') && !onArm) {
    warnings.push('x64 kernels want uint8 activations: with int8 ones the model may be slower than in float');
  }
  const packed = [...weights].filter(isPackedType);
  if (packed.length > 0) {
    warnings.push(
      `CPUs have no kernels for ${packed.join(' and ')} weights of these operators: the file is smaller, but layers with them compute in float ` +
        'between quantizers and are slower than in int8',
    );
  }
  if (weights.has('uint8') && !onArm) {
    warnings.push('x64 kernels for uint8 weights are slower than those for int8 weights');
  }
  return warnings;
}
