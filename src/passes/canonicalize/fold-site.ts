import type { Node } from '../../onnx/node.ts';
import { Names, Reads, type Scope, type Workspace } from './scope.ts';
import { WeightEditor } from './weight-editor.ts';

/** What a folding rule works with. Rules change the graph only when they answer `undefined` (folded). */
export interface FoldSite {
  readonly scope: Scope;
  readonly workspace: Workspace;
  readonly names: Names;
  readonly reads: Reads;
  readonly weights: WeightEditor;
  readonly producers: ReadonlyMap<string, Node>;
  /** Names of the graph's outputs. */
  readonly outputs: ReadonlySet<string>;
  /** Whether the value is known to have two axes. */
  isMatrix(name: string): boolean;
  /** Nodes to put in place of another. */
  replace(node: Node, by: readonly Node[]): void;
}

/** An index of the scope as it is now; `replace` is told what the rules want replaced. O(nodes). */
export function foldSite(scope: Scope, workspace: Workspace, replace: FoldSite['replace']): FoldSite {
  const { graph } = scope;
  const names = new Names(scope, workspace.overridable);
  const reads = new Reads(graph);
  const producers = new Map<string, Node>();
  for (const node of graph.nodes) for (const output of node.outputs) producers.set(output, node);
  return {
    scope,
    workspace,
    names,
    reads,
    weights: new WeightEditor(scope, workspace, { names, reads }),
    producers,
    outputs: new Set(graph.outputs.map((output) => output.name)),
    isMatrix: (name) => {
      const type = workspace.typeOf(scope, name);
      return type?.kind === 'tensor' && type.shape?.length === 2;
    },
    replace,
  };
}
