import { tensor, type InferRule } from './rule.ts';
import type { DataType } from '../data-type.ts';
import type { Attribute } from '../node.ts';
import { sameAsFirst } from './elementwise.ts';

/** Rules of ai.onnx.ml. Labels may be strings or int64, as the attributes say. */
export const ML_RULES: Readonly<Record<string, InferRule>> = {
  ArrayFeatureExtractor(context) {
    const data = context.shape(0);
    const count = context.shape(1)?.at(-1) ?? null;
    return [
      tensor(
        context.elementType(0),
        data === undefined ? undefined : data.length === 1 ? [1, count] : [...data.slice(0, -1), count],
      ),
    ];
  },
  Binarizer: sameAsFirst,
  CategoryMapper: (context) => [tensor(context.elementType(0) === 'string' ? 'int64' : 'string', context.shape(0))],
  FeatureVectorizer: (context) => [tensor('float', [context.shape(0)?.[0] ?? null, null])],
  Imputer: sameAsFirst,
  LabelEncoder: (context) => [tensor(labelType(context.node.attributes), context.shape(0))],
  LinearClassifier: (context) => classifier(context, context.node.floats('intercepts')?.length ?? null),
  LinearRegressor: (context) => [tensor('float', [context.shape(0)?.[0] ?? null, context.node.int('targets', 1)])],
  Normalizer: (context) => [tensor('float', context.shape(0))],
  OneHotEncoder(context) {
    const categories = context.node.ints('cats_int64s')?.length ?? stringsOf(context, 'cats_strings')?.length ?? null;
    const data = context.shape(0);
    return [tensor('float', data === undefined ? undefined : [...data, categories])];
  },
  SVMClassifier: (context) => classifier(context, null),
  SVMRegressor: (context) => [tensor('float', [context.shape(0)?.[0] ?? null, 1])],
  Scaler: (context) => [tensor('float', context.shape(0))],
  TreeEnsemble: (context) => [
    tensor(context.elementType(0), [context.shape(0)?.[0] ?? null, context.node.int('n_targets', 1)]),
  ],
  TreeEnsembleClassifier: (context) =>
    classifier(
      context,
      context.node.ints('classlabels_int64s')?.length ?? stringsOf(context, 'classlabels_strings')?.length ?? null,
    ),
  TreeEnsembleRegressor: (context) => [
    tensor('float', [context.shape(0)?.[0] ?? null, context.node.int('n_targets', 1)]),
  ],
  ZipMap(context) {
    const keyType = context.node.attributes.has('classlabels_strings') ? 'string' : 'int64';
    const map = { kind: 'map', keyType, value: { kind: 'tensor', elementType: 'float', shape: [] } } as const;
    return [{ type: { kind: 'sequence', element: map } }];
  },
};

function classifier(context: Parameters<InferRule>[0], classes: number | null): ReturnType<InferRule> {
  const strings = (stringsOf(context, 'classlabels_strings')?.length ?? 0) > 0;
  const batch = context.shape(0)?.length === 1 ? 1 : (context.shape(0)?.[0] ?? null);
  return [tensor(strings ? 'string' : 'int64', [batch]), tensor('float', [batch, classes])];
}

function stringsOf(context: Parameters<InferRule>[0], name: string): readonly Uint8Array[] | undefined {
  const attribute = context.node.attributes.get(name);
  return attribute?.kind === 'strings' ? attribute.value : undefined;
}

/** Values come as one of three lists, or as a tensor (version 4). */
function labelType(attributes: ReadonlyMap<string, Attribute>): DataType {
  const values = attributes.get('values_tensor');
  if (values?.kind === 'tensor') return values.value.dataType;
  if (attributes.has('values_floats')) return 'float';
  return attributes.has('values_int64s') ? 'int64' : 'string';
}
