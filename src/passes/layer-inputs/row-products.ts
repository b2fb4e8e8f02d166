import { GraphBuilder } from '../../onnx/graph-builder.ts';
import type { Runtime, Session } from '../../runtime/session.ts';
import type { InputRows } from './input-rows.ts';

/** Below this the product is made here; above, a session's matrix product is many times as fast. */
const SMALL_COLUMNS = 48;

/** Sums of XᵀX over rows that come bit by bit. */
export class RowProducts {
  readonly #runtime: Runtime;
  readonly #threads: number;
  #session: Session | undefined;

  constructor({ runtime, threads }: { readonly runtime: Runtime; readonly threads: number }) {
    this.#runtime = runtime;
    this.#threads = threads;
  }

  /** @param total - [columns, columns]; the rows' products are added */
  async add(total: Float64Array, { count, columns, data }: InputRows): Promise<void> {
    if (columns <= SMALL_COLUMNS) {
      addProducts(total, { count, columns, data });
      return;
    }
    this.#session ??= await productSession(this.#runtime, this.#threads);
    const x = { type: 'float' as const, dims: [count, columns], data: data.subarray(0, count * columns) };
    const [result] = (await this.#session.run({ x })).values();
    const values = result?.data ?? [];
    for (let i = 0; i < total.length; i += 1) total[i] = (total[i] ?? 0) + Number(values[i]);
  }

  async release(): Promise<void> {
    await this.#session?.release();
    this.#session = undefined;
  }
}

function addProducts(total: Float64Array, { count, columns, data }: InputRows): void {
  for (let row = 0; row < count; row += 1) {
    const from = row * columns;
    for (let i = 0; i < columns; i += 1) {
      const value = data[from + i] ?? 0;
      if (value === 0) continue;
      const line = i * columns;
      for (let j = 0; j < columns; j += 1) total[line + j] = (total[line + j] ?? 0) + value * (data[from + j] ?? 0);
    }
  }
}

/** XᵀX. */
function productSession(runtime: Runtime, threads: number): Promise<Session> {
  const b = new GraphBuilder('products');
  const x = b.input('x', 'float', ['rows', 'columns']);
  b.output(b.op('Gemm', [x, x], { attributes: { transA: 1 } }), 'products', 'float', ['columns', 'columns']);
  return runtime.createSession(b.model(21), { threads });
}
