// What is known about an answer whose reference is given.

import { FATES, ordinal, percent, quoted, short } from "./words.js";

/** What kinds of errors mean. @type {Record<string, string>} */
const KINDS = {
  "search error": "It has the higher score, but the search lost it: a search error.",
  "model error": "The model itself prefers its own, wrong answer: a model error.",
  impossible: "No search can return it: ",
};

/** @param {Record<string, any>} raw an entry of the page's data @returns {string[]} */
export function diagnosisSentences({ diagnosis, reference }) {
  if (!diagnosis) return reference ? [`Expected was ${quoted(short(reference, 60))}.`] : [];
  const { kind, obstacle, parting, loss, neighbours, dev } = diagnosis;
  const near = neighbours.length ? [`Similar sources in training: ${neighbours.slice(0, 3).map((/** @type {any} */ one) => `${quoted(short(one.source, 30))} → ${quoted(short(one.target, 30))}`).join(", ")}.`] : [];
  if (kind === "correct") return ["This is the expected answer.", ...near];
  const sentences = [
    `Expected was ${quoted(short(diagnosis.reference, 60))}, which the model gives ${percent(diagnosis.reference_log_prob ?? -Infinity)}.`,
    KINDS[kind] + (kind === "impossible" ? `${obstacle}.` : ""),
  ];
  if (parting) sentences.push(`They part at the ${ordinal(parting.step)} symbol, where the expected one, ${quoted(parting.wanted)}, has ${percent(parting.log_prob ?? -Infinity)} and is number ${parting.rank} of the model's list.`);
  if (kind === "search error" && loss) sentences.push(`The search lost it at its ${ordinal(loss.step)} symbol: ${FATES[loss.fate] ?? loss.fate}.`);
  if (dev) sentences.push(`On the dev pairs this confusion occurs ${dev.count} times among ${dev.total} errors.`);
  return [...sentences, ...near];
}
