import { describeNode, makeNode, type Node } from '../../onnx/node.ts';
import type { ChannelAffine } from './channel-affine.ts';
import type { FoldSite } from './fold-site.ts';

/**
 * Folds the affine map of `node` into the operator that makes its input, which then makes its output.
 *
 * @returns undefined when folded, else the reason; the graph is unchanged then
 */
export function foldIntoProducer(node: Node, affine: ChannelAffine, site: FoldSite): string | undefined {
  const [input = ''] = node.inputs;
  const producer = site.producers.get(input);
  if (producer === undefined) return 'no operator of this graph makes its input';
  if (site.outputs.has(input)) return `"${input}" is a graph output too`;
  if (site.reads.only(input) !== node) return `"${input}" is read elsewhere too`;
  if (producer.domain !== '' || producer.outputs.length > 1) return `${describeNode(producer)} cannot take it`;
  switch (producer.opType) {
    case 'Conv':
      return takeOver(node, producer, site, intoConv(producer, affine, site));
    case 'ConvTranspose':
      return takeOver(node, producer, site, intoConvTranspose(producer, affine, site));
    case 'Gemm':
      return takeOver(node, producer, site, intoGemm(producer, affine, site));
    case 'MatMul':
      return intoMatMul(node, producer, affine, site);
    case 'Add':
      return intoMatMulAdd(node, producer, affine, site);
    default:
      return `${describeNode(producer)} has no weights`;
  }
}

/** The producer makes the output of the folded node, under its name, so that graph outputs keep theirs. */
export function takeOver(node: Node, producer: Node, site: FoldSite, reason: string | undefined): string | undefined {
  if (reason !== undefined) return reason;
  const [made = ''] = producer.outputs;
  producer.outputs = [node.outputs[0] ?? ''];
  site.scope.graph.valueInfos.delete(made);
  site.replace(node, []);
  return undefined;
}

/** W [M, C/g, k...]: W'[m] = a[m] W[m], B'[m] = a[m] B[m] + b[m]. */
function intoConv(conv: Node, { scale, shift }: ChannelAffine, site: FoldSite): string | undefined {
  const weight = site.weights.read(conv, 1);
  if (typeof weight === 'string') return weight;
  const { values, tensor } = weight;
  if (tensor.dims[0] !== scale.length) return `${tensor.dims[0] ?? 0} channels meet ${scale.length} parameters`;
  const perChannel = values.length / scale.length;
  for (let m = 0, i = 0; m < scale.length; m += 1) {
    const a = scale[m] ?? 0;
    for (let k = 0; k < perChannel; k += 1, i += 1) values[i] = (values[i] ?? 0) * a;
  }
  return writeWithBias(conv, { values, dims: tensor.dims, dataType: tensor.dataType }, { scale, shift }, site);
}

/** W [C, M/g, k...], group by group of C/g input channels: output channel m = group * M/g + j. */
function intoConvTranspose(conv: Node, { scale, shift }: ChannelAffine, site: FoldSite): string | undefined {
  const weight = site.weights.read(conv, 1);
  if (typeof weight === 'string') return weight;
  const { values, tensor } = weight;
  const groups = conv.int('group', 1);
  const [inputs = 0, perGroup = 0] = tensor.dims;
  if (perGroup * groups !== scale.length) return `${perGroup * groups} channels meet ${scale.length} parameters`;
  const kernel = values.length / (inputs * perGroup);
  for (let c = 0, i = 0; c < inputs; c += 1) {
    const firstOutput = Math.floor(c / (inputs / groups)) * perGroup;
    for (let j = 0; j < perGroup; j += 1) {
      const a = scale[firstOutput + j] ?? 0;
      for (let k = 0; k < kernel; k += 1, i += 1) values[i] = (values[i] ?? 0) * a;
    }
  }
  return writeWithBias(conv, { values, dims: tensor.dims, dataType: tensor.dataType }, { scale, shift }, site);
}

function writeWithBias(
  node: Node,
  weight: { values: Float64Array; dims: readonly number[]; dataType: string },
  { scale, shift }: ChannelAffine,
  site: FoldSite,
): string | undefined {
  let bias = shift;
  if ((node.inputs[2] ?? '') !== '') {
    const old = site.weights.read(node, 2);
    if (typeof old === 'string') return old;
    if (old.values.length !== scale.length) return `its bias has ${old.values.length} of ${scale.length} elements`;
    bias = shift.map((b, m) => (old.values[m] ?? 0) * (scale[m] ?? 0) + b);
  }
  const base = node.inputs[1] ?? node.opType;
  return site.weights.write(
    [
      { node, input: 1, values: weight.values, dims: weight.dims, name: `${base}_folded` },
      { node, input: 2, values: bias, dims: [bias.length], name: `${base}_bias` },
    ],
    weight.dataType === 'double' ? 'double' : 'float',
  );
}

/** Y = alpha A B + beta C, B [K, N] (or [N, K]): column n of B and of beta C times a[n], C plus b[n]; beta becomes 1. */
function intoGemm(gemm: Node, { scale, shift }: ChannelAffine, site: FoldSite): string | undefined {
  const weight = site.weights.read(gemm, 1);
  if (typeof weight === 'string') return weight;
  const { values, tensor } = weight;
  const transposed = gemm.int('transB', 0) !== 0;
  const [rows = 0, columns = 0] = tensor.dims;
  const n = scale.length;
  if ((transposed ? rows : columns) !== n) return `${transposed ? rows : columns} columns meet ${n} parameters`;
  scaleMatrix(values, { rows, columns }, { scale, along: transposed ? 'rows' : 'columns' });

  let bias = shift;
  let biasDims: readonly number[] = [n];
  if ((gemm.inputs[2] ?? '') !== '') {
    const old = site.weights.read(gemm, 2);
    if (typeof old === 'string') return old;
    ({ values: bias, dims: biasDims } = gemmBias(old, gemm.float('beta', 1), { scale, shift }));
  }
  const base = gemm.inputs[1] ?? 'Gemm';
  const reason = site.weights.write(
    [
      { node: gemm, input: 1, values, dims: tensor.dims, name: `${base}_folded` },
      { node: gemm, input: 2, values: bias, dims: biasDims, name: `${base}_bias` },
    ],
    tensor.dataType === 'double' ? 'double' : 'float',
  );
  if (reason === undefined) gemm.attributes.delete('beta');
  return reason;
}

/**
 * beta * C * scale + shift for a C that Gemm broadcasts to [M, N]: a vector when that was enough for C, else [1 or M, N].
 */
export function gemmBias(
  old: { readonly values: Float64Array; readonly tensor: { readonly dims: readonly number[] } },
  beta: number,
  { scale, shift }: ChannelAffine,
): { values: Float64Array; dims: readonly number[] } {
  const { dims } = old.tensor;
  const n = scale.length;
  const lines = dims.length === 2 ? (dims[0] ?? 1) : 1;
  const width = dims.at(-1) ?? 1;
  const values = new Float64Array(lines * n);
  for (let m = 0, i = 0; m < lines; m += 1) {
    for (let c = 0; c < n; c += 1, i += 1) {
      values[i] = beta * (old.values[m * width + (width === 1 ? 0 : c)] ?? 0) * (scale[c] ?? 0) + (shift[c] ?? 0);
    }
  }
  return { values, dims: dims.length === 2 ? [lines, n] : [n] };
}

/** X [M, K] times W [K, N], channels on axis 1: W's columns take a; an Add of b takes the node's place, unless b is zero. */
function intoMatMul(node: Node, matMul: Node, affine: ChannelAffine, site: FoldSite): string | undefined {
  const weight = columnsTimes(matMul, affine.scale, site);
  if (typeof weight === 'string') return weight;
  const base = matMul.inputs[1] ?? 'MatMul';
  if (affine.shift.every((b) => b === 0)) {
    const reason = site.weights.write([{ ...weight.edit, name: `${base}_folded` }], weight.dataType);
    return takeOver(node, matMul, site, reason);
  }
  const add = makeNode('Add', [node.inputs[0] ?? '', ''], [node.outputs[0] ?? ''], { name: node.name });
  const reason = site.weights.write(
    [
      { ...weight.edit, name: `${base}_folded` },
      { node: add, input: 1, values: affine.shift, dims: [affine.shift.length], name: `${base}_bias` },
    ],
    weight.dataType,
  );
  if (reason === undefined) site.replace(node, [add]);
  return reason;
}

/** MatMul and an Add of a constant row: the row becomes a * row + b. */
function intoMatMulAdd(node: Node, add: Node, { scale, shift }: ChannelAffine, site: FoldSite): string | undefined {
  const constantAt = site.names.constant(add.inputs[1]) !== undefined ? 1 : 0;
  const product = add.inputs[1 - constantAt] ?? '';
  const matMul = site.producers.get(product);
  if (matMul?.opType !== 'MatMul' || matMul.domain !== '') return `${describeNode(add)} does not follow a MatMul`;
  if (site.outputs.has(product) || site.reads.only(product) !== add) return `"${product}" is read elsewhere too`;
  const row = site.weights.read(add, constantAt);
  if (typeof row === 'string') return row;
  const n = scale.length;
  const { dims } = row.tensor;
  if (dims.length > 2 || (dims.length === 2 && dims[0] !== 1) || ![1, n].includes(row.values.length)) {
    return `the constant of ${describeNode(add)} is [${dims.join(', ')}], not one row`;
  }
  const weight = columnsTimes(matMul, scale, site);
  if (typeof weight === 'string') return weight;
  const values = shift.map((b, c) => (row.values[row.values.length === 1 ? 0 : c] ?? 0) * (scale[c] ?? 0) + b);
  const base = matMul.inputs[1] ?? 'MatMul';
  const reason = site.weights.write(
    [
      { ...weight.edit, name: `${base}_folded` },
      { node: add, input: constantAt, values, dims: [n], name: `${base}_bias` },
    ],
    weight.dataType,
  );
  return takeOver(node, add, site, reason);
}

function columnsTimes(matMul: Node, scale: Float64Array, site: FoldSite) {
  const weight = site.weights.read(matMul, 1);
  if (typeof weight === 'string') return weight;
  const { values, tensor } = weight;
  const [rows = 0, columns = 0] = tensor.dims;
  if (tensor.dims.length !== 2 || columns !== scale.length) {
    return `the weight of ${describeNode(matMul)} is [${tensor.dims.join(', ')}], not [K, ${scale.length}]`;
  }
  if (!site.isMatrix(matMul.inputs[0] ?? '') && !site.isMatrix(matMul.outputs[0] ?? '')) {
    return `the input of ${describeNode(matMul)} is not known to have two axes, so the channel axis may not be the last`;
  }
  scaleMatrix(values, { rows, columns }, { scale, along: 'columns' });
  return {
    edit: { node: matMul, input: 1, values, dims: tensor.dims },
    dataType: tensor.dataType === 'double' ? 'double' : 'float',
  } as const;
}

/** Multiplies each row or column in place. O(rows * columns). */
export function scaleMatrix(
  values: Float64Array,
  { rows, columns }: { readonly rows: number; readonly columns: number },
  { scale, along }: { readonly scale: Float64Array; readonly along: 'rows' | 'columns' },
): void {
  for (let r = 0, i = 0; r < rows; r += 1) {
    for (let c = 0; c < columns; c += 1, i += 1) {
      values[i] = (values[i] ?? 0) * (scale[along === 'rows' ? r : c] ?? 0);
    }
  }
}
