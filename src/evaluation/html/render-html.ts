import { createHash } from 'node:crypto';
import { PASSES } from '../../passes/registry.ts';
import type { Report } from '../../schemas/report.ts';
import { choicesSection } from './choices-section.ts';
import { environmentSection, glossarySection, stepsSection } from './detail-sections.ts';
import { diagnosisSection } from './diagnosis-section.ts';
import { accuracySection, layersSection, speedSection } from './measurement-sections.ts';
import { html, Markup } from './markup.ts';
import { searchSection } from './search-section.ts';
import { STYLE } from './style.ts';
import { adviceSection, cardsSection, constraintsSection, headerSection } from './summary-sections.ts';
import { tableSection } from './table-section.ts';
import { trainingSection } from './training-section.ts';

/**
 * The report as one page for people: no script, no request to anywhere, its own style sheet by hash the only thing its
 * content security policy allows. Every string of the report is escaped and shortened.
 *
 * @param describePass - a sentence on what a pass does, by its name; by default the registry's
 */
export function renderHtml(report: Report, describePass: (name: string) => string | undefined = descriptionOf): string {
  const styleHash = createHash('sha256').update(STYLE).digest('base64');
  const policy = `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        ${new Markup(`<meta http-equiv="Content-Security-Policy" content="${policy}">`)}
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="referrer" content="no-referrer" />
        <title>Compression report${report.job === null ? '' : ` · ${report.job}`}</title>
        ${new Markup(`<style>${STYLE}</style>`)}
      </head>
      <body>
        ${headerSection(report)}
        <main>
          ${cardsSection(report)} ${constraintsSection(report)} ${adviceSection(report)} ${tableSection(report)}
          ${accuracySection(report)} ${diagnosisSection(report)} ${choicesSection(report)} ${speedSection(report)}
          ${searchSection(report)} ${trainingSection(report)} ${layersSection(report)}
          ${stepsSection(report, describePass)} ${environmentSection(report)} ${glossarySection()}
          <footer>
            Report version ${report.version}. The same data as JSON: <code>report.json</code>, or
            <code>GET /v1/jobs/…/report</code>.
          </footer>
        </main>
      </body>
    </html> `.text;
}

function descriptionOf(name: string): string | undefined {
  return PASSES.find((pass) => pass.name === name)?.description;
}
