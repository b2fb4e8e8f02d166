import { createHash } from 'node:crypto';
import type { Tensor } from '../../onnx/tensor.ts';
import { Reads, scopesOf, type Scope, type Workspace } from './scope.ts';

/** Below this many bytes a second copy costs less than a shared tensor costs the passes that change weights. */
const SHARE_FROM_BYTES = 1024;

interface Place {
  readonly scope: Scope;
  readonly name: string;
  readonly tensor: Tensor;
}

/**
 * Makes initializers with equal type, dimensions and bytes one. Copies in different subgraphs (the branches of an If,
 * say) move to the innermost graph around all of them. Tensors in external files count as equal when they are the same
 * range of the same file, so that their bytes need not be read. O(bytes of the tensors that share their size with
 * another).
 *
 * @returns how many initializers are gone
 */
export function shareInitializers(workspace: Workspace): number {
  const scopes = scopesOf(workspace.model).reverse(); // outermost first
  const definitions = definitionCounts(scopes);
  const reads = new Map<Scope, Reads>();
  const readsOf = (scope: Scope): Reads => {
    const present = reads.get(scope) ?? new Reads(scope.graph);
    reads.set(scope, present);
    return present;
  };
  let shared = 0;
  for (const places of equalTensors(scopes, workspace.overridable).values()) {
    const movable = places.filter(({ scope, name }) => !readsOf(scope).isReturned(name));
    const [first] = movable;
    if (first === undefined || movable.length < 2) continue;
    const home = movable.reduce((around, { scope }) => commonScope(around, scope), first.scope);
    const original = movable.find(({ scope }) => scope === home) ?? first;
    // A name that some graph in between gives another meaning would not reach the readers.
    const unique = definitions.get(original.name) === 1;
    if (!unique && original.scope === home) continue;
    const name = unique ? original.name : workspace.names.fresh(original.name);
    if (original.scope !== home) home.graph.initializers.set(name, original.tensor.renamed(name));
    for (const place of movable) {
      if (place.scope === home && place.name === name) continue;
      if (place.name !== name) readsOf(place.scope).redirect(place.name, name);
      place.scope.graph.initializers.delete(place.name);
      place.scope.graph.valueInfos.delete(place.name);
    }
    shared += movable.length - 1;
    if (original.scope !== home) reads.clear();
  }
  return shared;
}

function equalTensors(scopes: readonly Scope[], overridable: ReadonlySet<string>): Map<string, Place[]> {
  const bySize = new Map<number, Place[]>();
  for (const scope of scopes) {
    const { graph } = scope;
    const fixed = new Set([...graph.outputs, ...graph.inputs].map(({ name }) => name));
    for (const [name, tensor] of graph.initializers) {
      if (tensor.byteLength < SHARE_FROM_BYTES || fixed.has(name) || overridable.has(name)) continue;
      const places = bySize.get(tensor.byteLength);
      if (places === undefined) bySize.set(tensor.byteLength, [{ scope, name, tensor }]);
      else places.push({ scope, name, tensor });
    }
  }
  const byContent = new Map<string, Place[]>();
  for (const places of bySize.values()) {
    if (places.length < 2) continue;
    for (const place of places) {
      const content = contentKey(place.tensor);
      if (content === undefined) continue;
      const key = `${place.tensor.dataType} ${place.tensor.dims.join(',')} ${content}`;
      const equal = byContent.get(key);
      if (equal === undefined) byContent.set(key, [place]);
      else equal.push(place);
    }
  }
  return byContent;
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

/** In how many graphs each name is defined. */
function definitionCounts(scopes: readonly Scope[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { graph } of scopes) {
    const own = new Set<string>([...graph.initializers.keys(), ...graph.sparseInitializers.keys()]);
    for (const input of graph.inputs) own.add(input.name);
    for (const node of graph.nodes) for (const output of node.outputs) own.add(output);
    for (const name of own) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

function commonScope(a: Scope, b: Scope): Scope {
  const around = new Set<Scope>();
  for (let scope: Scope | undefined = a; scope !== undefined; scope = scope.outer) around.add(scope);
  let scope = b;
  while (!around.has(scope) && scope.outer !== undefined) scope = scope.outer;
  return scope;
}
