import type { GraphBuilder } from '../../../onnx/graph-builder.ts';
import { elementCount } from '../../../onnx/nd-array.ts';
import { makeNode, type Node } from '../../../onnx/node.ts';
import { Tensor } from '../../../onnx/tensor.ts';

/**
 * Multiplies the products of a layer by K, the mean magnitude of what each of them was computed from, and adds the bias behind
 * that: y = (sign(x) * W) K + b. For a convolution K is the mean of |x| over the channels, averaged by a kernel of ones / (kh kw)
 * with the layer's strides and pads; for a product of matrices the mean of a row. The layer's output keeps its name.
 *
 * @param x - what the layer reads, before its signs were taken
 * @param kernel - sizes of a convolution's kernel
 * @see Rastegari et al., "XNOR-Net", ECCV 2016, section 3.2
 */
export function writeScaledProducts(
  b: GraphBuilder,
  node: Node,
  { x, kernel }: { readonly x: string; readonly kernel: readonly number[] },
): void {
  const name = node.name === '' ? (node.outputs[0] ?? '') : node.name;
  const output = node.outputs[0] ?? '';
  const products = b.fresh(`${name}.products`);
  const [, , bias = ''] = node.inputs;
  const isConvolution = node.opType === 'Conv';
  node.outputs[0] = products;
  node.inputs = node.inputs.slice(0, 2);
  const axis = b.ints(`${name}.axis`, [isConvolution ? 1 : -1]);
  const magnitude = b.op('ReduceMean', [b.op('Abs', [x], { name: `${name}.magnitude` }), axis], {
    attributes: { keepdims: 1 },
    name: `${name}.mean`,
  });
  const sizes = isConvolution ? averaged(b, node, { magnitude, kernel }) : magnitude;
  if (bias === '') {
    b.graph.nodes.push(makeNode('Mul', [products, sizes], [output], { name: `${name}.scaled` }));
    return;
  }
  const scaled = b.op('Mul', [products, sizes], { name: `${name}.scaled` });
  const shift = isConvolution
    ? b.op('Reshape', [bias, b.ints(`${name}.bias_shape`, [-1, ...kernel.map(() => 1)])], { name: `${name}.bias` })
    : bias;
  b.graph.nodes.push(makeNode('Add', [scaled, shift], [output], { name: `${name}.shifted` }));
}

function averaged(
  b: GraphBuilder,
  node: Node,
  { magnitude, kernel }: { readonly magnitude: string; readonly kernel: readonly number[] },
): string {
  const taps = elementCount(kernel);
  const mean = b.initializer(
    Tensor.float(`${node.name}.box`, new Float32Array(taps).fill(1 / taps), [1, 1, ...kernel]),
  );
  const box = makeNode('Conv', [magnitude, mean], [b.fresh(`${node.name}.sizes`)], {
    name: b.fresh(`${node.name}.size`),
  });
  for (const [attribute, value] of node.attributes) box.attributes.set(attribute, value);
  b.graph.nodes.push(box);
  return box.outputs[0] ?? '';
}
