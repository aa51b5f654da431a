// Why this answer, and not another one: two continuations, symbol by symbol.

import { decodeMatrix, matrix, openTrace } from "./data.js";
import { foldedTable, h, picture, s } from "./dom.js";
import { heatMap, largestSize } from "./heat.js";
import { signedStrip } from "./saliency.js";
import { number, ordinal, part, percent, quoted, short, shown } from "./words.js";

const HIGH = 70, WIDE = 44, LEFT = 60;

/** Returns the first step at which two targets differ. @param {string[]} one @param {string[]} other */
export function partingStep(one, other) {
  let step = 0;
  while (step < Math.min(one.length, other.length) && one[step] === other[step]) ++step;
  return step;
}

/** Returns how many times one is as probable as the other. @param {number} difference of log p */
function times(difference) {
  const ratio = Math.exp(Math.abs(difference));
  const size = ratio >= 1e6 ? "more than a million" : ratio < 10 ? ratio.toFixed(1) : String(Math.round(ratio));
  return `${size} times as probable`;
}

/** @param {import("./view.js").View} view @returns {HTMLElement} */
export function contrastPanel(view) {
  const { trace, raw } = view, other = openTrace(raw.rival.trace), step = partingStep(trace.tokens, other.tokens);
  const names = [quoted(short(trace.text, 40)), quoted(short(other.text, 40))];
  if (step === trace.tokens.length && step === other.tokens.length) return h("p", {}, "Both answers are the same.");
  const rows = Math.max(trace.tokens.length, other.tokens.length);
  const so = (/** @type {number[]} */ logProbs, /** @type {number} */ t) => logProbs.slice(0, t + 1).reduce((sum, logProb) => sum + logProb, 0);
  const differences = Array.from({ length: rows }, (_, t) => so(trace.logProbs, t) - so(other.logProbs, t));
  const here = (trace.logProbs[step] ?? 0) - (other.logProbs[step] ?? 0), total = differences[rows - 1];
  const sentences = [
    `${raw.rival.label}: ${names[1]} (${percent(other.logProb)}) in the place of ${names[0]} (${percent(trace.logProb)}).`,
    `${step > 1 ? `The first ${step} symbols are the same. ` : step ? "The first symbol is the same. " : ""}At the ${ordinal(step)} symbol they part: the model gives ${quoted(trace.tokens[step] ?? "")} ${percent(trace.logProbs[step] ?? 0)} and ${quoted(other.tokens[step] ?? "")} ${percent(other.logProbs[step] ?? 0)}.`,
    `There ${here >= 0 ? names[0] : names[1]} is ${times(here)}, and over the whole answer ${total >= 0 ? names[0] : names[1]} is ${times(total)}.`,
  ];
  const content = [...sentences.map((text) => h("p", {}, text)), differencePicture(differences, trace, other, step)];
  const attention = attentionDifference(trace, other, step);
  if (attention) {
    const most = Math.max(0.01, largestSize(attention));
    content.push(h("h4", {}, "Where their attention differs"),
      h("p", { class: "note" }, `From the symbol after the parting on: yellow where ${names[0]} looked more, blue where ${names[1]} did. The strongest colour is a difference of ${part(most)}.`),
      heatMap(attention, Array.from({ length: attention.rows }, (_, t) => `${shown(trace.tokens[step + t])}/${shown(other.tokens[step + t])}`), trace.source, "Attention of the first answer minus that of the second", null, most));
  }
  if (raw.rival.saliency) {
    content.push(h("h4", {}, "Which parts of the source decided"),
      h("p", { class: "note" }, `Gradient × input of log p(${shown(trace.tokens[step] ?? "")}) − log p(${shown(other.tokens[step] ?? "")}): yellow speaks for ${quoted(trace.tokens[step] ?? "")}, blue for ${quoted(other.tokens[step] ?? "")}.`),
      decidingParts(decodeMatrix(raw.rival.saliency), raw.trace.source.tokens));
  }
  content.push(foldedTable("Both answers as a table", ["step", "this", "probability", "that", "probability", "log p of this minus that, so far"], () =>
    differences.map((difference, t) => [t + 1, t in trace.tokens ? quoted(trace.tokens[t]) : "–", t in trace.tokens ? percent(trace.logProbs[t]) : "–", t in other.tokens ? quoted(other.tokens[t]) : "–", t in other.tokens ? percent(other.logProbs[t]) : "–", number(difference, 3)])));
  return h("div", {}, ...content);
}

/** Returns the source's symbols, or squares for its frames, coloured by their part in the decision. @param {import("./data.js").Matrix} numbers @param {string[]} texts */
function decidingParts(numbers, texts) {
  const label = `Part of each source ${texts.length ? "symbol" : "frame"} in the decision`;
  return texts.length ? signedStrip(numbers.row(0), texts, label) : heatMap(numbers, [], [], label, null, Math.max(1e-9, largestSize(numbers)));
}

/** @param {import("./data.js").Trace} one @param {import("./data.js").Trace} other @param {number} step */
function attentionDifference(one, other, step) {
  const a = one.array("attention"), b = other.array("attention");
  if (!a || !b || a.columns !== b.columns) return null;
  const rows = Math.min(a.rows, b.rows) - step;
  if (rows < 2) return null;
  const numbers = Float32Array.from({ length: rows * a.columns }, (_, i) => a.at(step + Math.floor(i / a.columns), i % a.columns) - b.at(step + Math.floor(i / a.columns), i % a.columns));
  return matrix(numbers, rows, a.columns);
}

/** @param {number[]} differences @param {import("./data.js").Trace} one @param {import("./data.js").Trace} other @param {number} step */
function differencePicture(differences, one, other, step) {
  const first = differences.length > 60 ? Math.max(0, step - 3) : 0, drawn = differences.slice(first, first + 60);
  const most = Math.max(0.1, ...drawn.map((difference) => Math.abs(Number.isFinite(difference) ? difference : 0)));
  const middle = HIGH + 24, height = 2 * HIGH + 48;
  const bars = drawn.flatMap((difference, i) => {
    const size = Math.min(1, Math.abs(difference) / most) * HIGH, x = LEFT + WIDE * i, t = first + i;
    const cut = (/** @type {string | undefined} */ text) => [...shown(text ?? "–")].slice(0, 4).join("");
    return [
      s("rect", { x: x + 8, width: WIDE - 16, y: difference >= 0 ? middle - size : middle, height: Math.max(0.5, size), class: difference >= 0 ? "hot" : "cold" }, s("title", {}, number(difference, 3))),
      s("text", { x: x + WIDE / 2, y: 12, "text-anchor": "middle", class: "name" }, cut(one.tokens[t])),
      s("text", { x: x + WIDE / 2, y: height - 4, "text-anchor": "middle", class: "name" }, cut(other.tokens[t])),
    ];
  });
  const label = "How far the first answer is ahead of the second after each symbol, in log p; bars below the line: the second is ahead";
  const lines = [s("line", { x1: LEFT - 8, x2: LEFT + WIDE * drawn.length, y1: middle, y2: middle, class: "grid" }),
    s("text", { x: LEFT - 10, y: 12, "text-anchor": "end", class: "name" }, "this"), s("text", { x: LEFT - 10, y: height - 4, "text-anchor": "end", class: "name" }, "that")];
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, picture(LEFT + WIDE * drawn.length + 8, height, label, ...lines, ...bars));
}
