import type { Recommendation, StepReport } from '../schemas/report.ts';
import { searchDetailsOf, type SearchDetails } from '../schemas/search-report.ts';
import { noBetterThanRandom } from './search-verdicts.ts';

/** What the searches among the steps leave open. */
export function recommendOnSearch(steps: readonly StepReport[]): Recommendation[] {
  return steps.flatMap((step) => {
    const details = searchDetailsOf(step);
    return details === undefined ? [] : onSearch(step.pass, details);
  });
}

function onSearch(pass: string, details: SearchDetails): Recommendation[] {
  const { trials, best, constraints } = details;
  const found: Recommendation[] = [];
  const chosen = trials.find(({ index }) => index === best);
  if (constraints.length > 0 && chosen !== undefined && chosen.violation !== 0 && chosen.violation !== undefined) {
    found.push({
      code: 'search-limits-missed',
      level: 'warning',
      message: `${pass} found no candidate within its limits; the result is the one that misses them least. Widen the space, allow more trials, or relax the limits.`,
    });
  }
  if (details.cutShort) {
    const run = trials.filter(({ status }) => status !== 'rejected').length;
    found.push({
      code: 'search-cut-short',
      level: 'advice',
      message:
        details.strategy === 'one-shot'
          ? `${pass} was ended early, with ${run} ${run === 1 ? 'candidate' : 'candidates'} measured; the warnings of the step say what was not done. Give the job more time.`
          : `${pass} was ended early, after ${run} ${run === 1 ? 'trial' : 'trials'}; the warnings of the step say what was not done. The same job with more time goes on from there: trials that have run are not run again.`,
    });
  }
  const ran = trials.filter(({ status }) => status !== 'rejected');
  const failed = ran.filter(({ status }) => status === 'failed');
  if (failed.length * 2 > ran.length) {
    found.push({
      code: 'search-trials-failed',
      level: 'warning',
      message: `${failed.length} of the ${ran.length} candidates that ${pass} ran failed${failed[0]?.reason === undefined ? '' : `, the first with: ${failed[0].reason}`}. Take what cannot work out of the space.`,
    });
  }
  if (noBetterThanRandom(details)) {
    found.push({
      code: 'search-no-better-than-random',
      level: 'info',
      message: `${pass} found nothing better than as many candidates drawn at random. The space may be easy, the trials too few for the strategy to learn from, or the measurement too noisy to tell candidates apart (evaluationSamples).`,
    });
  }
  return found;
}
