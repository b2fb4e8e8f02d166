import { defined } from '../errors.ts';
import type { NdArray } from '../onnx/nd-array.ts';
import { tensorValue } from '../onnx/value-type.ts';
import type { Runtime, Session } from '../runtime/session.ts';
import { copyModel } from './copy-model.ts';
import type { FixedNetwork } from './fixed-network.ts';

/** Runs the teacher in inference form, with the values that are taught as its outputs. */
export class Teacher {
  readonly #session: Session;
  readonly #inputs: readonly string[];
  readonly #taps: readonly string[];

  private constructor(session: Session, taps: readonly string[]) {
    this.#session = session;
    this.#inputs = session.inputs.map(({ name }) => name);
    this.#taps = taps;
  }

  /** @throws CompressionError MODEL_LOAD, LIMIT_MEMORY */
  static async create(
    { model, types }: FixedNetwork,
    taps: readonly string[],
    { runtime, threads }: { readonly runtime: Runtime; readonly threads: number },
  ): Promise<Teacher> {
    const tapped = copyModel(model);
    // ONNX Runtime leaves out what no output depends on, so the layers behind the last tap cost nothing.
    tapped.graph.outputs = taps.map((value) => tensorValue(value, 'float', types.shape(value)));
    return new Teacher(await runtime.createSession(tapped, { threads }), taps);
  }

  /** The taps' values on a batch, by name. @throws CompressionError MODEL_RUN */
  async run(feeds: Readonly<Record<string, NdArray>>): Promise<ReadonlyMap<string, NdArray>> {
    const own = Object.fromEntries(this.#inputs.map((name) => [name, defined(feeds[name], `feed "${name}"`)]));
    return this.#session.run(own, this.#taps);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}
