// The page's sentences, numbers and names of symbols.

import { END } from "./data.js";

const ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
const VISIBLE = new Map([[" ", "␣"], ["\n", "↵"], ["\t", "⇥"], ["\r", "␍"], ["\u00a0", "⍽"], ["\u2581", "␣"], ["", "∅"]]);

/** Returns a symbol as it is shown: spaces, the end, and what changes the direction of text are visible. @param {string} symbol */
export function shown(symbol) {
  if (symbol === END) return "‹end›";
  if (symbol.startsWith("\u2581")) return `␣${symbol.slice(1)}`;
  if (!VISIBLE.has(symbol) && /^\p{C}$/u.test(symbol)) return codePoint(symbol);
  return VISIBLE.get(symbol) ?? symbol.replace(/[\u202a-\u202e\u2066-\u2069]/gu, (mark) => `‹${codePoint(mark)}›`);
}

/** @param {string} character */
function codePoint(character) {
  return `U+${character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Letters of scripts that are written from right to left. */
export const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Returns a text that does not change the direction of the sentence around it. @param {string} text */
function isolated(text) {
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}

/** @param {string} symbol */
export function quoted(symbol) {
  return symbol === END ? "the end" : `“${isolated(shown(symbol))}”`;
}

/** Returns a probability as a percentage. @param {number} logProb */
export function percent(logProb) {
  const share = 100 * Math.exp(logProb);
  if (share > 0 && share < 0.1) return "less than 0.1 %";
  return `${share < 10 ? Number(share.toFixed(1)) : share > 99.5 && share < 100 ? Number(share.toFixed(1)) : Math.round(share)} %`;
}

/** @param {number} share of 1 */
export function part(share) {
  return `${Math.round(100 * share)} %`;
}

/** @param {number | null | undefined} number */
export function number(number, digits = 2) {
  return number === null || number === undefined ? "–" : Number.isFinite(number) ? number.toFixed(digits) : "−∞";
}

/** @param {number} step from 0 */
export function ordinal(step) {
  if (step < ORDINALS.length) return ORDINALS[step];
  const n = step + 1, last = n % 100 > 10 && n % 100 < 14 ? 0 : n % 10;
  return `${n}${["th", "st", "nd", "rd"][last] ?? "th"}`;
}

/** Returns a long text cut in its middle. @param {string} text */
export function short(text, most = 120) {
  const letters = [...text];
  return letters.length <= most ? text : `${letters.slice(0, most - 20).join("")} … ${letters.slice(-16).join("")}`;
}

/** Returns the index of the largest number. @param {ArrayLike<number>} numbers */
export function largest(numbers) {
  let best = 0;
  for (let i = 1; i < numbers.length; ++i) if (numbers[i] > numbers[best]) best = i;
  return best;
}

/**
 * Returns what a reader should know first about a prediction, as sentences.
 * @param {import("./data.js").Trace} trace
 * @param {string} place what one place of the source is called
 */
export function summarize(trace, place) {
  const sentences = [];
  const sure = percent(trace.logProb), p = Math.exp(trace.logProb);
  if (trace.isGiven) sentences.push(`The model gives this answer a probability of ${sure}.`);
  else sentences.push(`The model is ${p < 0.5 && p >= 0.001 ? "only " : ""}${sure} sure of this answer.`);
  if (!trace.tokens.length) return sentences;
  const least = largest(trace.logProbs.map((logProb) => -logProb));
  const other = trace.choices[least]?.find(({ text }) => text !== trace.tokens[least]);
  if (Math.exp(trace.logProbs[least]) < 0.9) {
    sentences.push(`It was least sure of the ${ordinal(least)} symbol, ${quoted(trace.tokens[least])} (${percent(trace.logProbs[least])})` +
      (other ? `; it also considered ${quoted(other.text)} (${percent(other.logProb)}).` : "."));
  } else sentences.push("It was sure of every symbol.");
  const attention = trace.array("attention");
  if (attention && attention.rows) {
    const step = Math.min(least, attention.rows - 1), at = largest(attention.row(step));
    const where = place === "frame" ? `place ${at + 1} of ${attention.columns}` : quoted(trace.source[at] ?? "");
    sentences.push(`While writing the ${ordinal(step)} symbol it looked mostly at ${where} (${part(attention.at(step, at))} of its attention).`);
  } else sentences.push("This model has no attention: it reads the whole source into one vector first.");
  if (trace.unknown.length) sentences.push(`Never seen in training, so read as unknown: ${trace.unknown.slice(0, 8).map(quoted).join(", ")}.`);
  if (trace.truncated) sentences.push("The source is longer than the model reads; only its beginning was used.");
  if (!trace.finished) sentences.push("The answer was cut: it reached the longest length allowed.");
  return sentences;
}

/** Why a hypothesis of the search went no further. @type {Record<string, string>} */
export const FATES = {
  expanded: "continued",
  returned: "returned as an answer",
  beaten: "finished, but other finished ones have higher scores",
  duplicate: "finished, but another group found the same answer",
  outside_beam: "dropped: other beginnings of this length have higher scores",
  hopeless: "dropped at the end: it could not exceed the best finished answer any more",
  length_limit: "dropped at the end: it is as long as an answer may be",
  unfinished: "returned without an end: none had finished within the longest length",
  unpredictable: "forbidden: padding, begin and unknown are never predicted",
  other_prefix: "forbidden: the answer must begin with another symbol",
  too_short: "forbidden: the answer may not end so early",
  repeated_ngram: "forbidden: it would repeat a sequence of symbols",
  phrases: "forbidden: a phrase that the answer must contain would not fit",
};
