// Sliders for the attention weights of one symbol.

import { h } from "./dom.js";
import { ordinal, part, quoted } from "./words.js";

const MOST = 60; // places with a slider

/** @param {import("./view.js").View} view @returns {HTMLElement} */
export function bendPanel(view) {
  const { trace, selection, bend } = view, weights = trace.array("attention");
  if (!bend || !weights) return h("p", { class: "note" }, "There is no attention to bend.");
  const title = h("p"), sliders = h("div", { class: "sliders" });
  selection.watch((step) => {
    if (step >= weights.rows) return;
    const row = Array.from(weights.row(step)), order = row.map((_, j) => j);
    const shown = row.length <= MOST ? order : order.sort((a, b) => row[b] - row[a]).slice(0, MOST).sort((a, b) => a - b);
    title.textContent = `Where should the model look while it writes the ${ordinal(step)} symbol, ${quoted(trace.tokens[step])}?`;
    sliders.replaceChildren(...shown.map((j) => h("label", {}, h("bdi", {}, quoted(trace.source[j])), h("input", {
      type: "range",
      min: 0,
      max: 100,
      value: Math.round(100 * row[j]),
      "aria-valuetext": part(row[j]),
      onchange: (/** @type {any} */ event) => {
        row[j] = Number(event.target.value) / 100;
        bend(step, row.some((weight) => weight > 0) ? row : null);
      },
    }))));
  });
  const undo = h("button", { type: "button", class: "small", onclick: () => bend(selection.step, null) }, "As the model has it");
  return h("div", {}, title, sliders, undo, h("p", { class: "note" }, "The weights are divided by their sum; the answer is decoded anew from this symbol on."));
}
