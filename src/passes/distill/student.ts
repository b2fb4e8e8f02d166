import { CompressionError, defined } from '../../errors.ts';
import { NameScope, withSubgraphs } from '../../onnx/graph.ts';
import { inferTypes } from '../../onnx/inference/infer-types.ts';
import type { Model } from '../../onnx/model.ts';
import type { ValueInfo, ValueType } from '../../onnx/value-type.ts';
import { copyModel } from '../../training/copy-model.ts';
import { buildArchitecture, networkWithoutWeights } from '../../zoo/build-architecture.ts';
import type { PassContext } from '../pass.ts';
import type { StudentField } from './options.ts';

/**
 * The network that learns, with the names of the model it will replace.
 *
 * @throws CompressionError PASS_PRECONDITION where it takes or gives something else than the model
 */
export async function studentOf(field: StudentField, model: Model, context: PassContext): Promise<Model> {
  if (field === 'self') return copyModel(model);
  const student =
    'architecture' in field ? buildArchitecture(field, context.seed) : await openModel(field.model, context);
  const obstacle = interfaceObstacle(student, model);
  if (obstacle !== undefined) throw new CompressionError('PASS_PRECONDITION', `distill: ${obstacle}`);
  takeNames(student, model);
  return student;
}

/** What makes a network of the zoo no student of the model, in words; nothing is drawn for it. */
export function architectureObstacle(field: StudentField, model: Model): string | undefined {
  if (field === 'self' || !('architecture' in field)) return undefined;
  return interfaceObstacle(networkWithoutWeights(field), model);
}

/** The model the student learns from: the model so far, or, when that is the student, the job's input. */
export function teacherOf(field: StudentField, model: Model, context: PassContext): Model {
  return field === 'self' ? defined(context.input, 'the input model of the job') : model;
}

async function openModel(id: string, context: PassContext): Promise<Model> {
  if (context.openModel === undefined) throw new CompressionError('INTERNAL', `the model ${id} cannot be opened`);
  return context.openModel(id);
}

interface Place {
  readonly info: ValueInfo;
  readonly type: ValueType | undefined;
}

function placesOf(model: Model, kind: 'inputs' | 'outputs'): Place[] {
  const { graph } = model;
  const types = inferTypes(model);
  return graph[kind]
    .filter(({ name }) => kind === 'outputs' || !graph.initializers.has(name))
    .map((info) => ({ info, type: types.of(graph, info.name) ?? info.type }));
}

function interfaceObstacle(student: Model, model: Model): string | undefined {
  for (const kind of ['inputs', 'outputs'] as const) {
    const [own, wanted] = [placesOf(student, kind), placesOf(model, kind)];
    const noun = kind === 'inputs' ? 'input' : 'output';
    if (own.length !== wanted.length) {
      return `the student has ${own.length} ${kind}, the model ${wanted.length}; it can only replace a model with as many`;
    }
    for (const [index, place] of own.entries()) {
      const other = wanted[index];
      if (other === undefined || fits(place.type, other.type)) continue;
      return `${noun} "${place.info.name}" of the student is ${describe(place.type)}, ${noun} "${other.info.name}" of the model ${describe(other.type)}; choose a student of the same sizes (inputSize, inputChannels and classes of an architecture)`;
    }
  }
  return undefined;
}

/** Types equal, and sizes too where both are fixed; the batch is anybody's. */
function fits(own: ValueType | undefined, wanted: ValueType | undefined): boolean {
  if (own === undefined || wanted === undefined) return true;
  if (own.kind !== 'tensor' || wanted.kind !== 'tensor') return own.kind === wanted.kind;
  if (own.elementType !== wanted.elementType) return false;
  if (own.shape === undefined || wanted.shape === undefined) return true;
  return (
    own.shape.length === wanted.shape.length &&
    own.shape.every((size, axis) => {
      const other = wanted.shape?.[axis];
      return axis === 0 || typeof size !== 'number' || typeof other !== 'number' || size === other;
    })
  );
}

function describe(type: ValueType | undefined): string {
  if (type?.kind !== 'tensor') return type?.kind ?? 'of unknown type';
  return `${type.elementType} [${type.shape?.map((size) => size ?? '?').join(', ') ?? 'of unknown rank'}]`;
}

/** Gives the student's inputs and outputs the names of the model's. */
function takeNames(student: Model, model: Model): void {
  for (const kind of ['inputs', 'outputs'] as const) {
    const own = placesOf(student, kind).map(({ info }) => info.name);
    const wanted = placesOf(model, kind).map(({ info }) => info.name);
    const scope = new NameScope(student.graph);
    const taken = wanted.filter((name, index) => own[index] !== name);
    // Out of the way first: a wanted name may be that of another value.
    for (const name of taken)
      if (scope.fresh(name) !== name) renameValue(student, name, scope.fresh(`student_${name}`));
    const moved = placesOf(student, kind).map(({ info }) => info.name);
    for (const [index, name] of wanted.entries()) {
      const current = moved[index];
      if (current !== undefined && current !== name) renameValue(student, current, name);
    }
  }
}

/** Renames a value of the main graph wherever it is made, read or described. Names are unique across nested graphs. */
function renameValue(model: Model, from: string, to: string): void {
  const renamed = (name: string): string => (name === from ? to : name);
  const info = (value: ValueInfo): ValueInfo => ({ ...value, name: renamed(value.name) });
  for (const graph of withSubgraphs(model.graph)) {
    graph.inputs = graph.inputs.map(info);
    graph.outputs = graph.outputs.map(info);
    for (const node of graph.nodes) {
      node.inputs = node.inputs.map(renamed);
      node.outputs = node.outputs.map(renamed);
    }
    const described = graph.valueInfos.get(from);
    if (described !== undefined) {
      graph.valueInfos.delete(from);
      graph.valueInfos.set(to, info(described));
    }
    const tensor = graph.initializers.get(from);
    if (tensor !== undefined) {
      graph.initializers.delete(from);
      graph.initializers.set(to, tensor.renamed(to));
    }
  }
}
