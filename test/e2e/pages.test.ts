import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { chromium, type Browser, type Page } from 'playwright-core';
import { Job } from '../../src/schemas/job.ts';
import { LiveService } from './live-service.ts';

const CHROMIUM = '/usr/bin/chromium';

function skipWithoutBrowser(): string | false {
  if (existsSync(CHROMIUM)) return false;
  const message = `${CHROMIUM} is not there: the pages are NOT tried in a browser`;
  if (process.env['REQUIRE_SERVICES'] === '1') throw new Error(message);
  console.error(`\n!!! ${message}\n`);
  return message;
}

describe('the pages in a real browser', { skip: skipWithoutBrowser() }, () => {
  let service: LiveService;
  let browser: Browser;
  before(async () => {
    service = await LiveService.start();
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
    });
  });
  after(async () => {
    await browser.close();
    await service.stop();
  });

  /** Opens a page and notes everything it loads and every error in it. */
  async function open(url: string): Promise<{ page: Page; requests: string[]; errors: string[] }> {
    const page = await browser.newPage();
    const requests: string[] = [];
    const errors: string[] = [];
    page.on('request', (request) => requests.push(request.url()));
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    await page.goto(url, { waitUntil: 'load' });
    return { page, requests, errors };
  }

  it('shows the report of a job: headline, tables and charts, nothing loaded from elsewhere', async () => {
    const model = await service.uploaded('models', await readFile('examples/fashion-mnist/fashion-resnet8.onnx'));
    const data = await service.uploaded('datasets', await readFile('examples/fashion-mnist/evaluation.npz'));
    const created = await service.request('/v1/jobs', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model,
        recipe: 'int8-dynamic',
        data: { evaluation: { dataset: data, samples: 500 } },
        preprocess: { scale: 1 / 255, mean: 0.286, std: 0.353 },
        threads: 1,
      }),
    });
    const { id } = Job.parse(created.body);
    await service.request(`/v1/jobs/${id}/events`);
    const url = `${service.url}/v1/jobs/${id}/report?format=html`;
    const { page, requests, errors } = await open(url);
    assert.match(await page.locator('h1').innerText(), /times smaller|smaller|size/i);
    assert.ok((await page.locator('svg').count()) >= 3, 'charts');
    assert.ok(await page.getByText('Before and after').first().isVisible());
    assert.deepEqual(
      requests.filter((request) => request !== url && !request.startsWith('data:')),
      [],
    );
    assert.deepEqual(errors, []);
  });

  it('shows the landing page', async () => {
    const { page, errors } = await open(`${service.url}/`);
    assert.match(await page.title(), /Tersor/);
    assert.deepEqual(errors, []);
  });
});
