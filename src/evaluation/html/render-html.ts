import type { Report } from '../../schemas/report.ts';
import { html } from './markup.ts';

/** The report as one self-contained page for people. */
export function renderHtml(report: Report): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <title>Compression report</title>
      </head>
      <body>
        <h1>${report.headline}</h1>
        <pre>${JSON.stringify(report.comparison)}</pre>
      </body>
    </html>`.text;
}
