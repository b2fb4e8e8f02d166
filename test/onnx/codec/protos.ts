import { create, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { AttributeProto_AttributeType as Kind, GraphProtoSchema, ModelProtoSchema, type ModelProto } from 'onnx-buf';

/** Models made with the generated schema, so that the codec is tested against messages it did not make. */

export function modelProto(graph: MessageInitShape<typeof GraphProtoSchema>): ModelProto {
  return create(ModelProtoSchema, {
    irVersion: 10n,
    opsetImport: [{ version: 21n }],
    graph: { name: 'g', ...graph },
  });
}

export function modelBytes(graph: MessageInitShape<typeof GraphProtoSchema>): Uint8Array<ArrayBuffer> {
  return toBinary(ModelProtoSchema, modelProto(graph));
}

/** A model that uses every part of the format the IR knows, and some it does not. */
export function everything(): ModelProto {
  const float = (name: string, ...dims: (number | string)[]) => ({
    name,
    type: {
      value: {
        case: 'tensorType' as const,
        value: {
          elemType: 1,
          shape: {
            dim: dims.map((dim) => ({
              value:
                typeof dim === 'number'
                  ? { case: 'dimValue' as const, value: BigInt(dim) }
                  : { case: 'dimParam' as const, value: dim },
            })),
          },
        },
      },
    },
  });
  const raw = (name: string, count: number) => ({
    ...(name === '' ? {} : { name }),
    dims: [BigInt(count)],
    dataType: 1,
    rawData: new Uint8Array(new Float32Array(count).fill(count).buffer),
  });
  const branch = (name: string) => ({
    name,
    node: [{ opType: 'Add', input: ['x', `${name}_w`], output: [`${name}_out`] }],
    initializer: [raw(`${name}_w`, 2)],
    output: [float(`${name}_out`, 'N', 2)],
    docString: 'a branch',
  });
  const message = create(ModelProtoSchema, {
    irVersion: 13n,
    producerName: 'maker',
    producerVersion: '1',
    domain: 'example.org',
    modelVersion: 3n,
    docString: 'about',
    opsetImport: [{ version: 21n }, { domain: 'local', version: 1n }],
    metadataProps: [{ key: 'k', value: 'v' }],
    configuration: [{ name: 'two', numDevices: 2, device: ['a', 'b'] }],
    trainingInfo: [{ algorithm: { name: 'step', node: [] }, updateBinding: [{ key: 'w', value: 'w2' }] }],
    functions: [
      {
        name: 'Scaled',
        domain: 'local',
        overload: 'f32',
        input: ['a'],
        output: ['b'],
        attribute: ['alpha'],
        attributeProto: [{ name: 'beta', type: Kind.FLOAT, f: 2 }],
        node: [
          {
            opType: 'Elu',
            input: ['a'],
            output: ['b'],
            attribute: [{ name: 'alpha', type: Kind.FLOAT, refAttrName: 'alpha' }],
          },
        ],
        opsetImport: [{ version: 21n }],
        valueInfo: [float('b', 'N', 2)],
        docString: 'scales',
        metadataProps: [{ key: 'fk', value: 'fv' }],
      },
    ],
    graph: {
      name: 'main',
      docString: 'the graph',
      metadataProps: [{ key: 'gk', value: 'gv' }],
      input: [
        { ...float('x', 'N', 2), docString: 'in', metadataProps: [{ key: 'ik', value: 'iv' }] },
        {
          name: 'cond',
          type: { denotation: 'FLAG', value: { case: 'tensorType', value: { elemType: 9, shape: {} } } },
        },
      ],
      output: [float('y', 'N', 2)],
      valueInfo: [
        {
          name: 'img',
          type: {
            value: {
              case: 'tensorType',
              value: {
                elemType: 1,
                shape: { dim: [{ denotation: 'DATA_BATCH' }, { value: { case: 'dimValue', value: 3n } }] },
              },
            },
          },
        },
        { name: 'norank', type: { value: { case: 'tensorType', value: { elemType: 7 } } } },
        { name: 'unknown', type: { value: { case: 'tensorType', value: { elemType: 0 } } } },
        { name: 'untyped' },
        {
          name: 'seq',
          type: {
            value: {
              case: 'sequenceType',
              value: { elemType: { value: { case: 'optionalType', value: { elemType: float('', 1).type } } } },
            },
          },
        },
        {
          name: 'map',
          type: { value: { case: 'mapType', value: { keyType: 8, valueType: float('', 'K').type } } },
        },
        {
          name: 'sp',
          type: { value: { case: 'sparseTensorType', value: { elemType: 1, shape: { dim: [] } } } },
        },
      ],
      initializer: [
        { ...raw('w', 2), docString: 'weight', metadataProps: [{ key: 'tk', value: 'tv' }] },
        raw('large', 4096),
        { name: 'names', dims: [2n], dataType: 8, stringData: [Uint8Array.of(0xff, 0), new TextEncoder().encode('ü')] },
        { name: 'none', dims: [0n, 3n], dataType: 7, rawData: new Uint8Array() },
      ],
      sparseInitializer: [
        {
          values: raw('sparse', 1),
          indices: { dims: [1n], dataType: 7, rawData: new Uint8Array(8) },
          dims: [5n],
        },
      ],
      quantizationAnnotation: [{ tensorName: 'w', quantParameterTensorNames: [{ key: 'SCALE_TENSOR', value: 's' }] }],
      node: [
        {
          opType: 'If',
          name: 'choose',
          input: ['cond'],
          output: ['c'],
          attribute: [
            { name: 'then_branch', type: Kind.GRAPH, g: branch('then'), docString: 'yes' },
            { name: 'else_branch', type: Kind.GRAPH, g: branch('else') },
          ],
        },
        {
          opType: 'Scaled',
          domain: 'local',
          overload: 'f32',
          input: ['c', ''],
          output: ['y', ''],
          docString: 'doc',
          metadataProps: [{ key: 'nk', value: 'nv' }],
          deviceConfigurations: [{ configurationId: 'two', pipelineStage: 1 }],
          attribute: [
            { name: 'f', type: Kind.FLOAT, f: -0 },
            { name: 'i', type: Kind.INT, i: -(2n ** 63n) },
            { name: 's', type: Kind.STRING, s: Uint8Array.of(0xfe, 0) },
            { name: 't', type: Kind.TENSOR, t: raw('', 3) },
            { name: 'tl', type: Kind.TENSOR, t: raw('', 2000) },
            { name: 'fs', type: Kind.FLOATS, floats: [1.5, NaN, Infinity] },
            { name: 'is', type: Kind.INTS, ints: [0n, 2n ** 63n - 1n] },
            { name: 'ss', type: Kind.STRINGS, strings: [new Uint8Array(), Uint8Array.of(1)] },
            { name: 'ts', type: Kind.TENSORS, tensors: [raw('a', 1), raw('b', 1500)] },
            { name: 'gs', type: Kind.GRAPHS, graphs: [branch('g1')] },
            { name: 'st', type: Kind.SPARSE_TENSOR, sparseTensor: { values: raw('', 1), dims: [2n] } },
            { name: 'sts', type: Kind.SPARSE_TENSORS, sparseTensors: [{ values: raw('', 1), dims: [2n] }] },
            { name: 'tp', type: Kind.TYPE_PROTO, tp: float('', 2).type },
            { name: 'tps', type: Kind.TYPE_PROTOS, typeProtos: [float('', 2).type, {}] },
            { name: 'empty', type: Kind.INTS },
          ],
        },
      ],
    },
  });
  const unknown = { no: 999, wireType: WireType.LengthDelimited, data: new BinaryWriter().string('later').finish() };
  const graph = message.graph;
  for (const part of [
    message,
    graph,
    graph?.node[1],
    graph?.node[1]?.attribute[0],
    graph?.initializer[0],
    graph?.input[0],
    message.functions[0],
  ]) {
    if (part !== undefined) part.$unknown = [unknown];
  }
  return message;
}
