/** What a model may cost to look at. The defaults are far above real models. */
export interface VerifyLimits {
  /** Nodes in all graphs and function bodies. */
  readonly nodes: number;
  /** Nodes after each function call is replaced by its body (ONNX Runtime inlines them when it loads a model). */
  readonly expandedNodes: number;
  /** Subgraphs and function calls nested in one another. */
  readonly depth: number;
}

export const DEFAULT_VERIFY_LIMITS: VerifyLimits = { nodes: 500_000, expandedNodes: 1_000_000, depth: 32 };
