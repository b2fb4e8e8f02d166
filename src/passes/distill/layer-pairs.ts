import { CompressionError } from '../../errors.ts';
import type { StaticTensor } from '../../training/losses/loss.ts';
import type { Features } from './features.ts';
import type { FixedNetwork } from '../../training/fixed-network.ts';
import type { FeatureLoss } from './options.ts';

/** A value of the teacher and the one of the student that is to be like it. */
export interface LayerPair {
  readonly teacher: StaticTensor;
  readonly student: StaticTensor;
}

export interface Side {
  readonly network: FixedNetwork;
  readonly features: Features;
}

/**
 * The layers a loss compares: those the options name, or its standard choice of those the graphs offer. `at` and `vid`
 * take every map, `fitnet` the middle one, `sp` the last one, the others the vector ahead of the last layer.
 *
 * @throws CompressionError RECIPE_NO_MATCH for names that are no values; PASS_PRECONDITION where the graphs offer nothing
 */
export function pairsFor(loss: FeatureLoss, teacher: Side, student: Side): readonly LayerPair[] {
  if (loss.layers !== undefined) {
    return loss.layers.map(([wanted, own]) => {
      const pair = { teacher: named(wanted, teacher, 'teacher'), student: named(own, student, 'student') };
      if (loss.name === 'at') for (const tensor of [pair.teacher, pair.student]) checkMap(tensor);
      return pair;
    });
  }
  const maps = pairMaps(teacher.features, student.features);
  const last = maps.at(-1);
  const pairs = ((): readonly (LayerPair | undefined)[] => {
    switch (loss.name) {
      case 'at':
      case 'vid':
        return maps;
      case 'fitnet':
        return [maps[Math.floor((maps.length - 1) / 2)]];
      case 'sp':
        return [last ?? pairVectors(teacher.features, student.features)];
      case 'rkd':
      case 'pkt':
      case 'cc':
      case 'crd':
        return [pairVectors(teacher.features, student.features) ?? last];
    }
  })().filter((pair) => pair !== undefined);
  if (pairs.length > 0) return pairs;
  throw new CompressionError(
    'PASS_PRECONDITION',
    `distill: loss ${loss.name} finds no layers to compare: the teacher has ${offer(teacher.features)}, the student ${offer(student.features)}; name pairs in "layers": [["value of the teacher", "value of the student"], …]`,
  );
}

/**
 * Maps of one resolution go together. The last maps do so in any case where one size is a multiple of the other: they
 * stand for the same thing even when one network shrinks its maps further.
 */
export function pairMaps(teacher: Features, student: Features): readonly LayerPair[] {
  const pairs: LayerPair[] = [];
  for (const own of student.maps) {
    const wanted = teacher.maps.find((map) => sizes(map).join() === sizes(own).join());
    if (wanted !== undefined) pairs.push({ teacher: wanted, student: own });
  }
  const [own, wanted] = [student.maps.at(-1), teacher.maps.at(-1)];
  if (own === undefined || wanted === undefined) return pairs;
  const isPaired = pairs.some((pair) => pair.student === own && pair.teacher === wanted);
  if (!isPaired && (divides(own, wanted) || divides(wanted, own))) pairs.push({ teacher: wanted, student: own });
  return pairs;
}

function pairVectors(teacher: Features, student: Features): LayerPair | undefined {
  if (teacher.vector === undefined || student.vector === undefined) return undefined;
  return { teacher: teacher.vector, student: student.vector };
}

function sizes({ shape }: StaticTensor): readonly number[] {
  return shape.slice(2);
}

function divides(small: StaticTensor, large: StaticTensor): boolean {
  return sizes(large).every((size, axis) => size % (sizes(small)[axis] ?? Infinity) === 0);
}

function named(value: string, { network }: Side, who: 'teacher' | 'student'): StaticTensor {
  const { model, types } = network;
  const isComputed = model.graph.nodes.some(({ outputs }) => outputs.includes(value));
  if (isComputed && types.isFloat(value)) return { value, shape: types.shape(value) };
  throw new CompressionError(
    'RECIPE_NO_MATCH',
    `distill: the ${who} has no float value "${value}"; name the output of a node, as GET /v1/models/{id} shows them`,
  );
}

function checkMap({ value, shape }: StaticTensor): void {
  if (shape.length >= 3) return;
  throw new CompressionError(
    'PASS_PRECONDITION',
    `distill: loss at compares places of feature maps [batch, channels, …], "${value}" is [${shape.join(', ')}]; name a layer ahead of the pooling, or use fitnet or sp`,
  );
}

function offer({ maps, vector }: Features): string {
  return `${maps.length} feature maps and ${vector === undefined ? 'no' : 'a'} vector ahead of its last layer`;
}
