// How probable each symbol of the target is, and what else the model considered.

import { END } from "./data.js";
import { foldedTable, h } from "./dom.js";
import { strip } from "./strip.js";
import { number, ordinal, percent, quoted, shown } from "./words.js";

/**
 * @param {import("./view.js").View} view
 * @returns {HTMLElement}
 */
export function stepsPanel(view) {
  const { trace, selection } = view;
  const row = strip(trace.tokens, "Probability of each output symbol", (t) => selection.set(t),
    (t) => `${ordinal(t)} symbol ${quoted(trace.tokens[t])}: ${percent(trace.logProbs[t])}`);
  row.element.classList.add("bars");
  row.shade((t) => Math.exp(trace.logProbs[t]));
  const list = h("ol", { class: "choices" });
  const title = h("h4", { "aria-live": "polite" });
  let drawn = -1;
  selection.watch((step) => {
    if (step === drawn) return;
    drawn = step;
    row.show(step);
    row.choose(step);
    const choices = trace.choices[step] ?? [];
    const known = choices.some(({ text }) => text === trace.tokens[step]);
    const taken = { symbol: -1, text: trace.tokens[step], logProb: trace.logProbs[step] };
    title.textContent = `${ordinal(step)} symbol: ${quoted(trace.tokens[step])} has ${percent(trace.logProbs[step])}` +
      (trace.ranks[step] > 1 ? `; ${trace.ranks[step] - 1} other${trace.ranks[step] > 2 ? "s have" : " has"} more` : "");
    list.replaceChildren(...[...choices, ...(known ? [] : [taken])].map((choice) => option(view, step, choice)));
  });
  const table = foldedTable("Probabilities as a table", ["symbol", "probability", "log p", "rank", "alternatives"], () => trace.tokens.map((token, t) => [
    quoted(token), percent(trace.logProbs[t]), number(trace.logProbs[t], 4), trace.ranks[t],
    trace.choices[t].filter(({ text }) => text !== token).slice(0, 4).map(({ text, logProb }) => `${quoted(text)} ${percent(logProb)}`).join(", "),
  ]));
  return h("div", {}, h("p", {}, "The fuller a symbol, the surer the model was of it. Choose one to see what else it considered."), row.element, title, list, table);
}

/** @param {import("./view.js").View} view @param {number} step @param {import("./data.js").Choice} choice */
function option(view, step, choice) {
  const { text, logProb } = choice, taken = text === view.trace.tokens[step];
  const bar = h("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", String(Math.exp(logProb)));
  const other = view.take && !taken && text !== END
    ? h("button", { type: "button", class: "small", onclick: () => view.take?.([...view.trace.tokens.slice(0, step), text]), "aria-label": `Take ${quoted(text)} instead` }, "take this instead")
    : null;
  return h("li", { class: taken ? "taken" : null }, h("bdi", { class: "choice" }, shown(text)), bar,
    h("span", { class: "figure" }, percent(logProb)), taken ? h("span", { class: "note" }, "in this output") : other);
}
