import { Graph } from '../graph.ts';
import type { ModelFunction } from '../model.ts';
import { Node, type Attribute } from '../node.ts';

/** The identity of an operator that a model-local function may define. */
export function functionKey(domain: string, name: string, overload: string): string {
  return `${domain}\u0000${name}\u0000${overload}`;
}

/**
 * The nodes of a function as one call sees them: attribute references replaced by the caller's attributes or the
 * defaults, and left out where there is neither. Nodes without references are the function's own objects.
 */
export function bodyFor(definition: ModelFunction, call: Node): Node[] {
  const argument = (name: string): Attribute | undefined =>
    call.attributes.get(name) ?? definition.attributes.get(name);
  return definition.nodes.map((node) => resolved(node, argument));
}

function resolved(node: Node, argument: (name: string) => Attribute | undefined): Node {
  let changed = false;
  const attributes = new Map<string, Attribute>();
  for (const [name, attribute] of node.attributes) {
    const replaced = resolvedAttribute(attribute, argument);
    if (replaced !== attribute) changed = true;
    if (replaced !== undefined) attributes.set(name, replaced);
  }
  return changed ? new Node({ ...fieldsOf(node), attributes }) : node;
}

function resolvedAttribute(
  attribute: Attribute,
  argument: (name: string) => Attribute | undefined,
): Attribute | undefined {
  if (attribute.kind === 'reference') return argument(attribute.refAttrName);
  if (attribute.kind !== 'graph') return attribute;
  const nodes = attribute.value.nodes.map((node) => resolved(node, argument));
  if (nodes.every((node, index) => node === attribute.value.nodes[index])) return attribute;
  const { name, inputs, outputs, initializers, valueInfos } = attribute.value;
  return { kind: 'graph', value: new Graph({ name, nodes, inputs, outputs, initializers, valueInfos }) };
}

function fieldsOf(node: Node): ConstructorParameters<typeof Node>[0] {
  const { name, opType, domain, overload, inputs, outputs } = node;
  return { name, opType, domain, overload, inputs, outputs };
}
