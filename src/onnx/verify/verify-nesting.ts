import { CompressionError } from '../../errors.ts';
import type { Graph } from '../graph.ts';
import type { Model } from '../model.ts';
import type { Node } from '../node.ts';
import { functionKey } from '../inference/function-call.ts';
import type { VerifyLimits } from './limits.ts';
import { quoteName } from './quote.ts';

/** What one body (the main graph, or a function) holds. */
interface Body {
  readonly label: string;
  readonly calls: readonly { readonly callee: number; readonly depth: number }[];
  readonly nodes: number;
  readonly depth: number;
}

/**
 * Counts nodes, nesting, and what function calls expand to, without expanding them. After it, recursion over subgraphs is
 * safe. Linear in the size of the model, no recursion.
 *
 * @throws CompressionError MODEL_LIMIT for too many nodes (written or expanded) or too deep nesting; MODEL_INVALID for a
 *   function that calls itself, directly or through others
 */
export function verifyNesting(model: Model, limits: VerifyLimits): void {
  const indices = new Map<string, number>();
  model.functions.forEach((definition, index) => {
    const key = functionKey(definition.domain, definition.name, definition.overload);
    if (indices.has(key)) {
      throw new CompressionError('MODEL_INVALID', `function ${quoteName(definition.name)} is defined more than once`);
    }
    indices.set(key, index);
  });
  const bodies = model.functions.map((definition) =>
    measure(`function ${quoteName(definition.name)}`, definition.nodes, indices),
  );
  const main = measure('the graph', model.graph.nodes, indices);
  let written = main.nodes;
  for (const body of bodies) written += body.nodes;
  if (written > limits.nodes) {
    throw new CompressionError('MODEL_LIMIT', `the model has ${written} nodes, the limit is ${limits.nodes}`);
  }
  const expanded = expand([...bodies, main]);
  const result = expanded.at(-1);
  if (result === undefined) return;
  if (result.depth > limits.depth) {
    throw new CompressionError(
      'MODEL_LIMIT',
      `subgraphs and function calls are nested ${result.depth} deep, the limit is ${limits.depth}`,
    );
  }
  if (result.nodes > limits.expandedNodes) {
    throw new CompressionError(
      'MODEL_LIMIT',
      `function calls expand to ${result.nodes} nodes, the limit is ${limits.expandedNodes}`,
    );
  }
}

function measure(label: string, nodes: readonly Node[], functions: ReadonlyMap<string, number>): Body {
  const calls: { callee: number; depth: number }[] = [];
  const pending: { nodes: readonly Node[]; depth: number }[] = [{ nodes, depth: 0 }];
  let count = 0;
  let deepest = 0;
  for (let level = pending.pop(); level !== undefined; level = pending.pop()) {
    deepest = Math.max(deepest, level.depth);
    count += level.nodes.length;
    for (const node of level.nodes) {
      const callee = functions.get(functionKey(node.domain, node.opType, node.overload));
      if (callee !== undefined) calls.push({ callee, depth: level.depth + 1 });
      for (const graph of node.subgraphs() as readonly Graph[])
        pending.push({ nodes: graph.nodes, depth: level.depth + 1 });
    }
  }
  return { label, calls, nodes: count, depth: deepest };
}

/** Nodes and depth of each body with its calls expanded; depth-first over the call graph with a stack of our own. */
function expand(bodies: readonly Body[]): { nodes: number; depth: number }[] {
  const totals = bodies.map(({ nodes, depth }) => ({ nodes, depth }));
  const state = new Uint8Array(bodies.length); // 0 new, 1 on the path, 2 done
  for (let root = 0; root < bodies.length; root += 1) {
    if (state[root] !== 0) continue;
    const path = [{ index: root, next: 0 }];
    state[root] = 1;
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const call = bodies[top.index]?.calls[top.next];
      if (call === undefined) {
        state[top.index] = 2;
        path.pop();
        continue;
      }
      if (state[call.callee] === 1) {
        throw new CompressionError(
          'MODEL_INVALID',
          `${bodies[call.callee]?.label ?? 'a function'} calls itself; ONNX functions may not be recursive`,
        );
      }
      if (state[call.callee] === 0) {
        state[call.callee] = 1;
        path.push({ index: call.callee, next: 0 });
        continue;
      }
      const [own, callee] = [totals[top.index], totals[call.callee]];
      if (own !== undefined && callee !== undefined) {
        own.nodes += callee.nodes;
        own.depth = Math.max(own.depth, call.depth + callee.depth);
      }
      top.next += 1;
    }
  }
  return totals;
}
