import { inferTypes } from '../../../onnx/inference/infer-types.ts';
import type { Model } from '../../../onnx/model.ts';
import type { Node } from '../../../onnx/node.ts';
import type { ChoiceDimension, Point } from '../../../search/space.ts';
import type { ArchitectureRequest } from '../../../zoo/build-architecture.ts';
import { networkDimensions, networkOrReason, requestOf, type NetworkSpace } from '../networks.ts';

/** A stage of the network whose operation is open. */
export interface Place {
  /** `stages.2` */
  readonly name: string;
  /** What names of its nodes and weights begin with: `stage3.` */
  readonly prefix: string;
  /** Values of the dimensions of this stage, for each operation. */
  readonly operations: readonly Point[];
  /** An operation that has nodes: not one that hands on what it gets. */
  readonly solid: number;
}

/** A space in which each stage has operations to choose from, whatever the others have. */
export interface OperationSpace {
  readonly places: readonly Place[];
  /** @param operations - number of the operation for each place */
  pointOf(operations: readonly number[]): Point;
  requestOf(point: Point): ArchitectureRequest;
}

/** The nodes of a stage, with what goes in and what comes out. */
export interface Region {
  readonly nodes: readonly Node[];
  readonly input: string;
  /** The input where there are no nodes. */
  readonly output: string;
}

const STAGE_OPTION = /^stages\.(\d+)\.\w+$/;
/** Each of them is computed at each step. */
const MAX_OPERATIONS = 32;

/** @returns in words why the space is none in which operations can be mixed, where it is not */
export function operationSpace(template: NetworkSpace, given: Record<string, unknown>): OperationSpace | string {
  if (Array.isArray(template) || template.architecture !== 'staged')
    return 'operations are chosen for the stages of the architecture "staged" alone';
  const byStage = new Map<number, ChoiceDimension[]>();
  for (const dimension of networkDimensions(template)) {
    const stage = STAGE_OPTION.exec(dimension.name)?.[1];
    if (stage === undefined || dimension.type !== 'choice')
      return `"${dimension.name}" is no list of values for an option of a stage`;
    byStage.set(Number(stage), [...(byStage.get(Number(stage)) ?? []), dimension]);
  }
  const places: Place[] = [];
  for (const [stage, dimensions] of [...byStage].sort(([a], [b]) => a - b)) {
    const operations = productOf(dimensions);
    if (operations.length > MAX_OPERATIONS)
      return `"stages.${stage}" has ${operations.length} operations, more than ${MAX_OPERATIONS}`;
    const solid = operations.findIndex((point) => !Object.values(point).includes('skip'));
    if (solid < 0 || operations.length < 2) return `"stages.${stage}" has no two operations to choose from`;
    places.push({ name: `stages.${stage}`, prefix: `stage${stage + 1}.`, operations, solid });
  }
  const space: OperationSpace = {
    places,
    pointOf: (operations) =>
      Object.assign({}, ...places.map((place, index) => place.operations[operations[index] ?? 0] ?? {})) as Point,
    requestOf: (point) => requestOf(template, given, point),
  };
  return interfaceProblem(space) ?? space;
}

function productOf(dimensions: readonly ChoiceDimension[]): Point[] {
  return dimensions.reduce<Point[]>(
    (points, { name, values }) => points.flatMap((point) => values.map((value) => ({ ...point, [name]: value }))),
    [{}],
  );
}

/** Whatever its operation, a stage has to give what the next one takes. */
function interfaceProblem(space: OperationSpace): string | undefined {
  const { places } = space;
  for (const [index, place] of places.entries()) {
    let wanted: string | undefined;
    for (const operation of place.operations.keys()) {
      const chosen = places.map(({ solid }, other) => (other === index ? operation : solid));
      const network = networkOrReason(space.requestOf(space.pointOf(chosen)));
      if (typeof network === 'string')
        return `${JSON.stringify(place.operations[operation])} cannot be built: ${network}`;
      const { output } = regionOf(network, place.prefix);
      const shape = JSON.stringify(inferTypes(network).shape(network.graph, output)?.slice(1));
      wanted ??= shape;
      if (shape !== wanted)
        return `${JSON.stringify(place.operations[operation])} gives ${shape} a sample, the first operation of its stage ${wanted}`;
    }
  }
  return undefined;
}

/**
 * The nodes whose names begin with the prefix. Where there are none, input and output are what the stage before gives.
 *
 * @throws RangeError when they have several inputs or outputs
 */
export function regionOf({ graph }: Model, prefix: string): Region {
  const nodes = graph.nodes.filter(({ name }) => name.startsWith(prefix));
  if (nodes.length === 0) {
    const before = lastBefore(graph.nodes, prefix);
    return { nodes, input: before, output: before };
  }
  const made = new Set(nodes.flatMap(({ outputs }) => outputs));
  const inputs = new Set(
    nodes
      .flatMap((node) => node.inputs)
      .filter((value) => value !== '' && !made.has(value) && !graph.initializers.has(value)),
  );
  const outputs = new Set(
    graph.nodes
      .filter(({ name }) => !name.startsWith(prefix))
      .flatMap((node) => node.inputs)
      .filter((value) => made.has(value)),
  );
  const [input] = inputs;
  const [output] = outputs;
  if (input === undefined || output === undefined || inputs.size + outputs.size > 2)
    throw new RangeError(`"${prefix}" has ${inputs.size} inputs and ${outputs.size} outputs`);
  return { nodes, input, output };
}

function lastBefore(nodes: readonly Node[], prefix: string): string {
  const stage = Number(/\d+/.exec(prefix)?.[0]);
  const isBefore = ({ name }: Node): boolean => {
    const own = /^stage(\d+)\./.exec(name)?.[1];
    return own === undefined ? name.startsWith('stem.') : Number(own) < stage;
  };
  return nodes.findLast(isBefore)?.outputs[0] ?? '';
}
