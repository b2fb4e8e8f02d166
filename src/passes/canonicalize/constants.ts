import { createHash } from 'node:crypto';
import { describeNode, type Node } from '../../onnx/node.ts';
import { Tensor } from '../../onnx/tensor.ts';
import type { Skipped } from '../pass.ts';
import { Reads, type Scope, type Workspace } from './scope.ts';

/**
 * Turns Constant nodes into initializers of the same name. One whose output is an output of its graph stays, because
 * not every reader of ONNX accepts an initializer as a graph output; a sparse one stays, because it has no dense form
 * here.
 */
export function liftConstants({ graph }: Scope, skipped: Skipped[]): number {
  const outputs = new Set(graph.outputs.map((output) => output.name));
  const before = graph.nodes.length;
  graph.nodes = graph.nodes.filter((node) => {
    const [name] = node.outputs;
    if (node.opType !== 'Constant' || node.domain !== '' || name === undefined || outputs.has(name)) return true;
    const tensor = constantTensor(node, name);
    if (tensor === undefined) {
      skipped.push({ node: describeNode(node), reason: 'its value is sparse: it stays a Constant node' });
      return true;
    }
    graph.initializers.set(name, tensor);
    graph.valueInfos.delete(name);
    return false;
  });
  return before - graph.nodes.length;
}

/** The value of a Constant node, under the given name; undefined for a sparse value. */
export function constantTensor(node: Node, name: string): Tensor | undefined {
  for (const [key, attribute] of node.attributes) {
    switch (attribute.kind) {
      case 'tensor':
        return attribute.value.renamed(name);
      case 'float':
        return Tensor.float(name, [attribute.value], []);
      case 'floats':
        return Tensor.float(name, attribute.value);
      case 'int':
        return Tensor.fromArray(name, { type: 'int64', dims: [], data: BigInt64Array.of(attribute.value) });
      case 'ints':
        return Tensor.fromArray(name, {
          type: 'int64',
          dims: [attribute.value.length],
          data: BigInt64Array.from(attribute.value),
        });
      case 'string':
        if (key !== 'value_string') break;
        return new Tensor({
          name,
          dataType: 'string',
          dims: [],
          storage: { kind: 'strings', values: [attribute.value] },
        });
      case 'strings':
        return new Tensor({
          name,
          dataType: 'string',
          dims: [attribute.value.length],
          storage: { kind: 'strings', values: attribute.value },
        });
      default:
        break;
    }
  }
  return undefined;
}

/** Below this many bytes a second copy costs less than a shared tensor costs the passes that change weights. */
const SHARE_FROM_BYTES = 1024;

/**
 * Makes initializers with equal type, dimensions and bytes one, within a graph. Tensors in external files count as equal
 * when they are the same range of the same file, so that their bytes need not be read. O(bytes).
 */
export function shareInitializers({ graph }: Scope, { overridable }: Workspace): number {
  const outputs = new Set(graph.outputs.map((output) => output.name));
  const inputs = new Set(graph.inputs.map((input) => input.name));
  const first = new Map<string, string>();
  let shared = 0;
  const candidates = [...graph.initializers].filter(
    ([name, tensor]) =>
      tensor.byteLength >= SHARE_FROM_BYTES && !overridable.has(name) && !outputs.has(name) && !inputs.has(name),
  );
  const bySize = new Map<number, number>();
  for (const [, tensor] of candidates) bySize.set(tensor.byteLength, (bySize.get(tensor.byteLength) ?? 0) + 1);
  if (bySize.size === candidates.length) return 0;
  const reads = new Reads(graph);
  for (const [name, tensor] of candidates) {
    if ((bySize.get(tensor.byteLength) ?? 0) < 2) continue;
    const content = contentKey(tensor);
    if (content === undefined) continue;
    const key = `${tensor.dataType} ${tensor.dims.join(',')} ${content}`;
    const original = first.get(key);
    if (original === undefined) first.set(key, name);
    else if (!reads.isReturned(name)) {
      reads.redirect(name, original);
      graph.initializers.delete(name);
      graph.valueInfos.delete(name);
      shared += 1;
    }
  }
  return shared;
}

function contentKey({ storage }: Tensor): string | undefined {
  switch (storage.kind) {
    case 'bytes':
      return createHash('sha256').update(storage.bytes).digest('base64');
    case 'external':
      return `${storage.file.location} ${storage.offset} ${storage.byteLength}`;
    case 'strings':
      return undefined;
  }
}
