import { Graph } from '../../../src/onnx/graph.ts';
import { Model, type ModelFunction } from '../../../src/onnx/model.ts';
import type { Node } from '../../../src/onnx/node.ts';
import type { Tensor } from '../../../src/onnx/tensor.ts';
import type { ValueInfo } from '../../../src/onnx/value-type.ts';

export interface GraphParts {
  readonly nodes: Node[];
  readonly inputs?: ValueInfo[];
  readonly outputs?: ValueInfo[];
  readonly initializers?: readonly Tensor[];
  readonly valueInfos?: readonly ValueInfo[];
}

export function graphOf(parts: GraphParts): Graph {
  return new Graph({
    name: 'g',
    nodes: parts.nodes,
    inputs: parts.inputs ?? [],
    outputs: parts.outputs ?? [],
    initializers: new Map((parts.initializers ?? []).map((tensor) => [tensor.name, tensor])),
    valueInfos: new Map((parts.valueInfos ?? []).map((info) => [info.name, info])),
  });
}

/** A model with opset 17 of the default domain unless `opsets` says otherwise. */
export function modelOf(
  parts: GraphParts & {
    readonly opsets?: Readonly<Record<string, number>>;
    readonly functions?: ModelFunction[];
    readonly irVersion?: number;
  },
): Model {
  return new Model({
    graph: graphOf(parts),
    opsetImports: new Map(Object.entries(parts.opsets ?? { '': 17 })),
    functions: parts.functions ?? [],
    irVersion: parts.irVersion ?? 10,
  });
}

export function functionOf(name: string, nodes: Node[], fields: Partial<ModelFunction> = {}): ModelFunction {
  return {
    name,
    domain: 'test',
    overload: '',
    inputs: ['x'],
    outputs: ['y'],
    attributeNames: [],
    attributes: new Map(),
    nodes,
    opsetImports: new Map([
      ['', 17],
      ['test', 1],
    ]),
    valueInfos: new Map(),
    docString: '',
    metadata: [],
    unknownFields: [],
    ...fields,
  };
}
