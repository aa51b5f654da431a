// What is known about an answer whose reference is given.

import { partingStep } from "./contrast.js";
import { openTrace } from "./data.js";
import { ordinal, percent, quoted, short } from "./words.js";

/** @param {Record<string, any>} raw an entry of the page's data @returns {string[]} */
export function diagnosisSentences(raw) {
  if (raw.reference === null || raw.reference === undefined) return [];
  if (raw.reference === raw.trace.target.text) return ["This is the expected answer."];
  const sentences = [`Expected was ${quoted(short(raw.reference, 60))}.`];
  if (raw.rival) {
    const expected = openTrace(raw.rival.trace), found = openTrace(raw.trace), step = partingStep(found.tokens, expected.tokens);
    const better = expected.logProb > found.logProb;
    sentences.push(`The model gives it ${percent(expected.logProb)}, ${better ? "more than its own answer: the search lost it (a search error)" : "less than its own answer: the model itself prefers the wrong one (a model error)"}.`);
    sentences.push(`They part at the ${ordinal(step)} symbol, where the expected one, ${quoted(expected.tokens[step] ?? "")}, has ${percent(expected.logProbs[step] ?? -Infinity)}.`);
  }
  return [...sentences, ...(raw.diagnosis?.sentences ?? [])];
}
