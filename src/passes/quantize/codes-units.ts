import type { Node } from '../../onnx/node.ts';
import type { GraphView } from './graph-view.ts';
import { placementOf } from './placement.ts';
import type { ActivationType } from './quant-type.ts';
import type { CodesUnit, Refusal } from './units.ts';

/**
 * A node that can run on codes as they are, or why it cannot. Undefined for operators that never could. Exact: what it
 * does to codes is what it would do to the values they stand for.
 */
export function examineCodes(node: Node, view: GraphView, type: ActivationType): CodesUnit | Refusal | undefined {
  const placement = placementOf(node);
  if (placement?.kind === 'clips') return examineClip(node, view, type);
  if (placement?.kind !== 'moves') return undefined;
  if (type === 'int16' || type === 'uint16') return { reason: `${node.opType} has no 16-bit kernel` };
  switch (node.opType) {
    case 'MaxPool':
      return (node.outputs[1] ?? '') === '' ? { kind: 'codes', node } : { reason: 'MaxPool gives indices, too' };
    case 'DepthToSpace':
      return type === 'uint8' ? { kind: 'codes', node } : { reason: 'DepthToSpace has no int8 kernel' };
    case 'Pad':
      return examinePad(node, view);
    case 'Resize':
      return node.string('mode', 'nearest') === 'nearest' &&
        node.string('coordinate_transformation_mode', 'half_pixel') !== 'tf_crop_and_resize'
        ? { kind: 'codes', node }
        : { reason: 'Resize that interpolates would round in codes' };
    default:
      return { kind: 'codes', node };
  }
}

function examinePad(node: Node, view: GraphView): CodesUnit | Refusal {
  const value = node.inputs[2] ?? '';
  if (node.string('mode', 'constant') !== 'constant' || value === '') return { kind: 'codes', node };
  const constant = view.constantOf(value);
  if (constant?.dataType === 'float' && constant.floats().every((element) => element === 0))
    return { kind: 'codes', node };
  return { reason: 'the padded value is not the constant 0, so it may lie outside the range of the input' };
}

function examineClip(node: Node, view: GraphView, type: ActivationType): CodesUnit | Refusal {
  const input = node.inputs[0] ?? '';
  if (type === 'int16' || type === 'uint16') return { reason: `${node.opType} has no 16-bit kernel` };
  if (view.isOutput(input) || view.readersOf(input).length !== 1) {
    return { reason: `"${input}" is read unclipped elsewhere, so it needs a wider range than the result` };
  }
  if (node.opType === 'Relu') return { kind: 'codes', node, clip: { min: 0, max: Infinity } };
  const bound = (index: number, absent: number): number | undefined => {
    const name = node.inputs[index] ?? '';
    if (name === '') return absent;
    const constant = view.constantOf(name);
    return constant?.dataType === 'float' ? constant.floats()[0] : undefined;
  };
  const min = bound(1, -Infinity);
  const max = bound(2, Infinity);
  if (min === undefined || max === undefined) return { reason: 'the bounds of Clip are not constants' };
  return { kind: 'codes', node, clip: { min, max } };
}
