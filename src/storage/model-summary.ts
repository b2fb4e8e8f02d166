import { withSubgraphs } from '../onnx/graph.ts';
import type { Model } from '../onnx/model.ts';
import type { ValueInfo, ValueType } from '../onnx/value-type.ts';
import type { ModelSummaryField, ModelValue } from '../schemas/model.ts';

/** What /v1/models says of a model, from the decoded graph. Weights are not read. O(nodes). */
export function summarize(model: Model): ModelSummaryField {
  const operators = new Map<string, number>();
  let parameters = 0;
  for (const graph of withSubgraphs(model.graph)) {
    for (const node of graph.nodes) {
      const name = node.domain === '' ? node.opType : `${node.domain}:${node.opType}`;
      operators.set(name, (operators.get(name) ?? 0) + 1);
    }
    for (const tensor of graph.initializers.values())
      parameters += tensor.dims.reduce((product, dim) => product * dim, 1);
  }
  const opsets = [...model.opsetImports].map(
    ([domain, version]) => [domain === '' ? 'ai.onnx' : domain, version] as const,
  );
  return {
    irVersion: model.irVersion,
    opset: model.opsetImports.get('') ?? 0,
    opsets: Object.fromEntries(opsets),
    producer: [model.producerName, model.producerVersion].filter((part) => part !== '').join(' '),
    // Before IR 4 every initializer was an input too; what the caller must give is the rest.
    inputs: model.graph.inputs.filter((input) => !model.graph.initializers.has(input.name)).map(valueField),
    outputs: model.graph.outputs.map(valueField),
    operators: Object.fromEntries([...operators].sort(([a], [b]) => (a < b ? -1 : 1))),
    parameters,
    macs: null,
  };
}

function valueField(info: ValueInfo): ModelValue {
  const shape = info.type?.kind === 'tensor' || info.type?.kind === 'sparse-tensor' ? info.type.shape : undefined;
  return {
    name: info.name,
    type: info.type === undefined ? 'unknown' : typeName(info.type),
    shape: shape === undefined ? null : [...shape],
  };
}

function typeName(type: ValueType): string {
  switch (type.kind) {
    case 'tensor':
      return type.elementType;
    case 'sparse-tensor':
      return `sparse(${type.elementType})`;
    case 'sequence':
      return `sequence(${typeName(type.element)})`;
    case 'optional':
      return `optional(${typeName(type.element)})`;
    case 'map':
      return `map(${type.keyType}, ${typeName(type.value)})`;
    case 'opaque':
      return 'opaque';
  }
}
