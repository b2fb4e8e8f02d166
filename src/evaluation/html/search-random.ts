import { noBetterThanRandom } from '../search-verdicts.ts';
import type { SearchDetails } from '../../schemas/search-report.ts';
import { formatNumber } from '../format.ts';
import { html, type Markup } from './markup.ts';
import type { FigureView } from '../search-figures.ts';
import { figureText } from './search-table.ts';

/** The best of the search beside the best of as many random candidates. */
export function randomPanel(details: SearchDetails, views: readonly FigureView[]): Markup | undefined {
  const { random } = details;
  if (random === undefined) return undefined;
  const { found, best, trials, curves } = random;
  const ends = curves === undefined ? undefined : ([curves.search.at(-1), curves.random.at(-1)] as const);
  const hypervolumes = views.length > 1 && ends !== undefined;
  const shown = (value: number | null | undefined): string => (typeof value === 'number' ? formatNumber(value) : '–');
  return html`<div class="panel scroll">
    <h3>Against random candidates</h3>
    <table>
      <thead>
        <tr>
          <th></th>
          <th class="n">Search</th>
          <th class="n">Random</th>
        </tr>
      </thead>
      <tbody>
        ${views.map(
          (view) =>
            html`<tr>
              <td>${view.name} of the best</td>
              <td class="n">${found === undefined ? '–' : figureText(found, view)}</td>
              <td class="n">${best === undefined ? 'none succeeded' : figureText(best, view)}</td>
            </tr>`,
        )}
        ${
          hypervolumes
            ? html`<tr>
                <td>Hypervolume</td>
                <td class="n">${shown(ends[0])}</td>
                <td class="n">${shown(ends[1])}</td>
              </tr>`
            : undefined
        }
      </tbody>
    </table>
    <p class="soft">
      <small
        >${trials === undefined ? '' : `${trials} random candidates, as many as the search had, one draw of each. `}${VERDICTS[noBetterThanRandom(details) ? 'no' : 'yes']}</small
      >
    </p>
  </div>`;
}

const VERDICTS = {
  no: 'The search brought nothing over chance here.',
  yes: 'The search is ahead; another seed may show another distance.',
};
