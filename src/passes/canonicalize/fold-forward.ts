import { describeNode, makeNode, type Node } from '../../onnx/node.ts';
import type { ChannelAffine } from './channel-affine.ts';
import { gemmBias, scaleMatrix } from './fold-backward.ts';
import type { FoldSite } from './fold-site.ts';

/**
 * Folds the affine map of `node` into the one operator that reads its output, which then reads its input.
 *
 * @returns undefined when folded, else the reason; the graph is unchanged then
 */
export function foldIntoConsumer(node: Node, affine: ChannelAffine, site: FoldSite): string | undefined {
  const [output = ''] = node.outputs;
  if (site.outputs.has(output)) return `"${output}" is a graph output`;
  const consumer = site.reads.only(output);
  if (consumer === undefined) return `"${output}" is read more than once or in a subgraph`;
  if (consumer.inputs[0] !== output || consumer.domain !== '') return `${describeNode(consumer)} cannot take it`;
  switch (consumer.opType) {
    case 'Conv':
      return takeOver(node, consumer, site, intoConv(consumer, affine, site));
    case 'ConvTranspose':
      return takeOver(node, consumer, site, intoConvTranspose(consumer, affine, site));
    case 'Gemm':
      return takeOver(node, consumer, site, intoGemm(consumer, affine, site));
    case 'MatMul':
      return intoMatMul(node, consumer, affine, site);
    default:
      return `${describeNode(consumer)} has no weights`;
  }
}

function takeOver(node: Node, consumer: Node, site: FoldSite, reason: string | undefined): string | undefined {
  if (reason !== undefined) return reason;
  consumer.inputs[0] = node.inputs[0] ?? '';
  site.scope.graph.valueInfos.delete(node.outputs[0] ?? '');
  site.replace(node, []);
  return undefined;
}

/**
 * conv(a x + b) = conv'(x) with W'[m, c] = a[c] W[m, c] and B'[m] = B[m] + sum over c and k of W[m, c, k] b[c]. The sum is
 * only right where the kernel sees no padding, so a padded Conv takes a map with b = 0 only.
 */
function intoConv(conv: Node, { scale, shift }: ChannelAffine, site: FoldSite): string | undefined {
  const weight = site.weights.read(conv, 1);
  if (typeof weight === 'string') return weight;
  const shifts = shift.some((b) => b !== 0);
  if (shifts && pads(conv)) return `${describeNode(conv)} pads with zeros, where the shift would be missing`;
  const { values, tensor } = weight;
  const groups = conv.int('group', 1);
  const [outputs = 0, perGroup = 0] = tensor.dims;
  if (perGroup * groups !== scale.length) return `${perGroup * groups} channels meet ${scale.length} parameters`;
  const kernel = values.length / (outputs * perGroup);
  const added = new Float64Array(outputs);
  for (let m = 0, i = 0; m < outputs; m += 1) {
    const firstInput = Math.floor(m / (outputs / groups)) * perGroup;
    for (let c = 0; c < perGroup; c += 1) {
      const a = scale[firstInput + c] ?? 0;
      const b = shift[firstInput + c] ?? 0;
      for (let k = 0; k < kernel; k += 1, i += 1) {
        added[m] = (added[m] ?? 0) + (values[i] ?? 0) * b;
        values[i] = (values[i] ?? 0) * a;
      }
    }
  }
  return write(conv, { values, tensor, added: shifts ? added : undefined }, site);
}

/** Which positions a kernel element reaches differs at the border of a ConvTranspose, so only b = 0 is exact. */
function intoConvTranspose(conv: Node, { scale, shift }: ChannelAffine, site: FoldSite): string | undefined {
  if (shift.some((b) => b !== 0))
    return `${describeNode(conv)} sees the shift a different number of times at its border`;
  const weight = site.weights.read(conv, 1);
  if (typeof weight === 'string') return weight;
  const { values, tensor } = weight;
  const [inputs = 0] = tensor.dims;
  if (inputs !== scale.length) return `${inputs} channels meet ${scale.length} parameters`;
  scaleMatrix(values, { rows: inputs, columns: values.length / inputs }, { scale, along: 'rows' });
  return write(conv, { values, tensor, added: undefined }, site);
}

/** (a x + b) B: row k of B times a[k]; alpha * sum over k of b[k] B[k, n] goes into C. */
function intoGemm(gemm: Node, { scale, shift }: ChannelAffine, site: FoldSite): string | undefined {
  if (gemm.int('transA', 0) !== 0)
    return `${describeNode(gemm)} transposes its input: channels are not what it sums over`;
  const weight = site.weights.read(gemm, 1);
  if (typeof weight === 'string') return weight;
  const { values, tensor } = weight;
  const transposed = gemm.int('transB', 0) !== 0;
  const [rows = 0, columns = 0] = tensor.dims;
  const inputs = transposed ? columns : rows;
  if (inputs !== scale.length) return `${inputs} inputs meet ${scale.length} parameters`;
  const alpha = gemm.float('alpha', 1);
  const added = vectorTimes(
    shift.map((b) => b * alpha),
    values,
    { rows, columns, transposed },
  );
  scaleMatrix(values, { rows, columns }, { scale, along: transposed ? 'columns' : 'rows' });

  const shifts = shift.some((b) => b !== 0);
  const beta = gemm.float('beta', 1);
  if (!shifts || (gemm.inputs[2] ?? '') === '') {
    const reason = write(gemm, { values, tensor, added: shifts ? added : undefined }, site);
    if (reason === undefined && shifts) gemm.attributes.delete('beta');
    return reason;
  }
  const old = site.weights.read(gemm, 2);
  if (typeof old === 'string') return old;
  const bias = gemmBias(old, beta, { scale: new Float64Array(added.length).fill(1), shift: added });
  const base = gemm.inputs[1] ?? 'Gemm';
  const reason = site.weights.write(
    [
      { node: gemm, input: 1, values, dims: tensor.dims, name: `${base}_folded` },
      { node: gemm, input: 2, ...bias, name: `${base}_bias` },
    ],
    tensor.dataType === 'double' ? 'double' : 'float',
  );
  if (reason === undefined) gemm.attributes.delete('beta');
  return reason;
}

/** x [M, K]: rows of W times a; an Add of b W behind the MatMul, unless it is zero. */
function intoMatMul(node: Node, matMul: Node, { scale, shift }: ChannelAffine, site: FoldSite): string | undefined {
  const weight = site.weights.read(matMul, 1);
  if (typeof weight === 'string') return weight;
  const { values, tensor } = weight;
  const [rows = 0, columns = 0] = tensor.dims;
  if (tensor.dims.length !== 2 || rows !== scale.length) {
    return `the weight of ${describeNode(matMul)} is [${tensor.dims.join(', ')}], not [${scale.length}, N]`;
  }
  if (!site.isMatrix(node.inputs[0] ?? '') && !site.isMatrix(node.outputs[0] ?? '')) {
    return `the input of ${describeNode(matMul)} is not known to have two axes, so the channel axis may not be the last`;
  }
  const added = vectorTimes(shift, values, { rows, columns, transposed: false });
  scaleMatrix(values, { rows, columns }, { scale, along: 'rows' });
  const base = matMul.inputs[1] ?? 'MatMul';
  const dataType = tensor.dataType === 'double' ? 'double' : 'float';
  const edit = { node: matMul, input: 1, values, dims: tensor.dims, name: `${base}_folded` };
  if (added.every((value) => value === 0)) return takeOver(node, matMul, site, site.weights.write([edit], dataType));

  const [output = ''] = matMul.outputs;
  const add = makeNode('Add', ['', ''], [output]);
  const bias = { node: add, input: 1, values: added, dims: [added.length], name: `${base}_bias` };
  const reason = site.weights.write([edit, bias], dataType);
  if (reason !== undefined) return reason;
  const product = site.workspace.names.fresh(`${output}_product`);
  add.inputs[0] = product;
  matMul.outputs = [product];
  site.replace(matMul, [matMul, add]);
  return takeOver(node, matMul, site, undefined);
}

/** v B for B [K, N], or v Bᵀ for B [N, K]. */
function vectorTimes(
  vector: Float64Array,
  matrix: Float64Array,
  { rows, columns, transposed }: { readonly rows: number; readonly columns: number; readonly transposed: boolean },
): Float64Array {
  const product = new Float64Array(transposed ? rows : columns);
  for (let r = 0, i = 0; r < rows; r += 1) {
    for (let c = 0; c < columns; c += 1, i += 1) {
      const n = transposed ? r : c;
      product[n] = (product[n] ?? 0) + (vector[transposed ? c : r] ?? 0) * (matrix[i] ?? 0);
    }
  }
  return product;
}

function write(
  node: Node,
  made: {
    values: Float64Array;
    tensor: { dims: readonly number[]; dataType: string };
    added: Float64Array | undefined;
  },
  site: FoldSite,
): string | undefined {
  const base = node.inputs[1] ?? node.opType;
  const dataType = made.tensor.dataType === 'double' ? 'double' : 'float';
  const edit = { node, input: 1, values: made.values, dims: made.tensor.dims, name: `${base}_folded` };
  if (made.added === undefined) return site.weights.write([edit], dataType);
  let bias = made.added;
  if ((node.inputs[2] ?? '') !== '') {
    const old = site.weights.read(node, 2);
    if (typeof old === 'string') return old;
    bias = bias.map((value, m) => value + (old.values[m] ?? 0));
  }
  return site.weights.write(
    [edit, { node, input: 2, values: bias, dims: [bias.length], name: `${base}_bias` }],
    dataType,
  );
}

function pads(conv: Node): boolean {
  const auto = conv.string('auto_pad', 'NOTSET');
  if (auto === 'VALID') return false;
  return auto !== 'NOTSET' || (conv.ints('pads') ?? []).some((pad) => pad !== 0);
}
