// Which parts of the source mattered for each symbol: gradient × input.

import { decodeMatrix } from "./data.js";
import { foldedTable, h } from "./dom.js";
import { heatMap, largestSize } from "./heat.js";
import { strip } from "./strip.js";
import { largest, number, ordinal, quoted } from "./words.js";

/** Returns the source's symbols coloured by signed numbers. @param {Float32Array} numbers @param {string[]} texts @param {string} label */
export function signedStrip(numbers, texts, label) {
  const most = Math.max(1e-9, ...numbers.map(Math.abs));
  const row = strip(texts, label, () => {}, (j) => `${ordinal(j)} of the source, ${quoted(texts[j])}: ${number(numbers[j], 3)}`);
  row.shade((j) => numbers[j] / most);
  return row.element;
}

/** @param {import("./view.js").View} view @returns {HTMLElement} */
export function saliencyPanel(view) {
  const { trace, raw, selection } = view;
  if (!raw.saliency) return h("p", { class: "note" }, raw.saliency_note);
  const numbers = decodeMatrix(raw.saliency), texts = raw.trace.source.tokens;
  const names = texts.length ? texts.map(quoted) : Array.from({ length: numbers.columns }, (_, j) => `frame ${j + 1}`);
  const most = Math.max(1e-9, largestSize(numbers));
  const line = h("div"), title = h("p", { "aria-live": "polite" });
  selection.watch((step) => {
    if (step >= numbers.rows) return;
    const row = numbers.row(step), at = largest(row.map(Math.abs));
    title.textContent = `For the ${ordinal(step)} symbol, ${quoted(trace.tokens[step])}, ${names[at]} mattered most: it speaks ${row[at] < 0 ? "against" : "for"} it.`;
    line.replaceChildren(texts.length ? signedStrip(row, texts, "Part of each source symbol") : h("span"));
  });
  return h("div", {}, h("p", {}, "Yellow speaks for a symbol, blue against it. Attention shows where the model looked; this shows what would change the answer."),
    h("p", { class: "note" }, "Gradient × input: Σ over the vector x_j of a source symbol of x_j · ∂ log p(y_t) / ∂x_j."), title, line,
    heatMap(numbers, trace.tokens, texts, "Gradient × input: a row for each output symbol, a column for each source symbol", selection, most),
    foldedTable("Gradient × input as a table", ["symbol", "most for it", "", "most against it", ""], () => Array.from({ length: numbers.rows }, (_, t) => {
      const row = numbers.row(t), up = largest(row), down = largest(row.map((x) => -x));
      return [quoted(trace.tokens[t]), names[up], number(row[up], 3), names[down], number(row[down], 3)];
    })));
}
