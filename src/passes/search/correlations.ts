import type { Model } from '../../onnx/model.ts';
import { kendallTau, spearman } from '../../search/rank-correlation.ts';
import { buildArchitecture } from '../../zoo/build-architecture.ts';
import type { PassContext } from '../pass.ts';
import { takeNames } from '../replace-model.ts';
import type { ArchitectureOptions } from './architecture-options.ts';
import { interfaceOptions } from './interface-options.ts';
import { requestOf } from './networks.ts';
import { proxyScores } from './proxy-scores.ts';
import { ranked, type Tried } from './run-search.ts';

/** How well figures known without training order the candidates that were measured: parameters and MACs, and the proxies beside them. */
export async function correlationsOf(
  tried: readonly Tried[],
  {
    model,
    options,
    context,
  }: {
    readonly model: Model;
    readonly options: Pick<ArchitectureOptions, 'space' | 'proxies' | 'training'>;
    readonly context: PassContext;
  },
): Promise<Record<string, { kendallTau: number; spearman: number; candidates: number }>> {
  const usable = ranked(tried).filter(({ figures }) => figures.accuracy !== undefined);
  if (usable.length < 3) return {};
  const given = interfaceOptions(model);
  const networks = usable.map(({ point }) => {
    const network = buildArchitecture(requestOf(options.space, given, point), context.seed);
    takeNames(network, model);
    return network;
  });
  const scores = await proxyScores(networks, options, context);
  const entries = (['parameters', 'macs', ...options.proxies] as const).flatMap((name) => {
    const pairs = usable.flatMap(({ figures }, place) => {
      const value = name === 'parameters' || name === 'macs' ? figures[name] : scores[place]?.[name];
      const accuracy = (figures.metric === 'rmse' ? -1 : 1) * (figures.accuracy ?? 0);
      return value === undefined ? [] : [[value, accuracy] as const];
    });
    if (pairs.length < 3) return [];
    const [values, accuracies] = [pairs.map(([value]) => value), pairs.map(([, accuracy]) => accuracy)];
    const correlation = {
      kendallTau: kendallTau(values, accuracies),
      spearman: spearman(values, accuracies),
      candidates: pairs.length,
    };
    return [[name, correlation] as const];
  });
  return Object.fromEntries(entries);
}
