// Source and target as two rows of symbols with links between them, and all attention weights as a heat map.

import { foldedTable, h, newId, s } from "./dom.js";
import { heatMap, largestSize } from "./heat.js";
import { strip } from "./strip.js";
import { largest, number, ordinal, part, percent, quoted } from "./words.js";

const GAP = 90; // height between the rows
const FAINT = 0.08; // a link with a smaller weight is not drawn, unless it is the strongest of its symbol
const SPREAD = 0.5; // a largest weight below which colours are relative to it

/**
 * @param {import("./view.js").View} view
 * @returns {HTMLElement}
 */
export function attentionPanel(view) {
  const { trace, selection } = view, heads = trace.planes("attention.heads");
  let weights = trace.array("attention");
  const range = () => {
    const most = weights ? largestSize(weights) : 0;
    return most > 0 && most < SPREAD ? most : 1;
  };
  const describeTarget = (/** @type {number} */ t) => {
    const { at, rows } = weights ?? { at: () => 0, rows: 0 };
    const where = weights && t < rows ? largest(weights.row(t)) : -1;
    const looked = where < 0 ? "" : `, looked at ${quoted(trace.source[where] ?? "")} (${part(at(t, where))})`;
    return `${ordinal(t)} symbol ${quoted(trace.tokens[t])}: ${percent(trace.logProbs[t])}${looked}`;
  };
  const describeSource = (/** @type {number} */ j) => {
    const at = selection.step;
    const share = weights && at < weights.rows ? `: ${part(weights.at(at, j))} of the attention of the ${ordinal(at)} symbol` : "";
    return `${ordinal(j)} of the source, ${quoted(trace.source[j])}${share}`;
  };
  /** @type {number | null} */
  let from = null; // a place of the source whose links are shown instead of those of the chosen symbol
  const target = strip(trace.tokens, "Output, symbol by symbol", (t) => {
    from = null;
    selection.set(t);
  }, describeTarget);
  const source = strip(trace.source, "Source, symbol by symbol", (j) => {
    from = j;
    draw();
  }, describeSource);
  source.element.addEventListener("mouseleave", () => {
    from = null;
    draw();
  });
  const links = s("svg", { class: "links", height: GAP, "aria-hidden": "true" });
  const board = h("div", { class: "board" }, h("p", { class: "row-name" }, "Output"), target.element, links,
    view.frames?.element ?? null, h("p", { class: "row-name" }, "Source"), source.element);

  const draw = () => {
    const box = links.getBoundingClientRect();
    links.replaceChildren();
    target.choose(selection.step);
    if (!weights || !weights.rows) return;
    const { at, rows, columns } = weights, step = Math.min(selection.step, rows - 1), most = range();
    source.shade((j) => (from === null ? at(step, j) / most : j === from ? 1 : 0));
    target.shade((t) => (from !== null && t < rows ? at(t, from) / most : 0));
    view.frames?.mark(weights.row(step));
    const line = (/** @type {number} */ t, /** @type {number} */ j, /** @type {boolean} */ strong) => {
      const one = target.button(t)?.getBoundingClientRect(), other = source.button(j)?.getBoundingClientRect();
      if (!one || !other || !box.width) return;
      const x1 = one.left + one.width / 2 - box.left, x2 = other.left + other.width / 2 - box.left;
      const bow = `M${x1} 0C${x1} ${GAP / 2} ${x2} ${GAP / 2} ${x2} ${GAP}`;
      links.append(s("path", { d: bow, class: strong ? "link strong" : "link", "stroke-width": 1 + 5 * at(t, j), "stroke-opacity": (strong ? 1 : 0.25) * Math.max(0.25, at(t, j)) }));
    };
    for (let t = 0; t < rows; ++t) {
      if (!target.button(t)) continue;
      const strongest = largest(weights.row(t));
      for (let j = 0; j < columns; ++j) if (at(t, j) >= FAINT || j === strongest) line(t, j, from === null ? t === step : j === from);
    }
  };
  selection.watch((step) => {
    target.show(step);
    if (weights && step < weights.rows) source.show(largest(weights.row(step)));
    draw();
  });
  source.element.addEventListener("moved", draw);
  target.element.addEventListener("moved", draw);
  new ResizeObserver(draw).observe(board);

  const id = newId("head");
  const heat = h("div");
  const drawHeat = () => {
    if (!weights) return;
    const most = range();
    heat.replaceChildren(
      heatMap(weights, trace.tokens, trace.source, "Attention: a row for each output symbol, a column for each source symbol; darker is more", selection, most),
      most < 1 ? h("p", { class: "note" }, `The attention is spread: the strongest colour is a weight of ${number(most)}.`) : "",
      foldedTable("Attention as a table", ["output", "mostly at", "weight", "then at", "weight"], () => trace.tokens.slice(0, weights?.rows).map((token, t) => {
        const row = weights?.row(t) ?? new Float32Array(), [one, two] = twoLargest(row);
        return [quoted(token), `${one + 1}: ${quoted(trace.source[one])}`, number(row[one]), two < 0 ? "–" : `${two + 1}: ${quoted(trace.source[two])}`, number(row[two])];
      })));
  };
  drawHeat();
  const choose = heads.length < 2 ? null : h("p", {}, h("label", { for: id }, "Head of the attention: "), h("select", {
    id,
    onchange: (/** @type {any} */ { target: { value } }) => {
      weights = value === "all" ? trace.array("attention") : heads[Number(value)];
      drawHeat();
      draw();
    },
  }, h("option", { value: "all" }, "mean of all"), ...heads.map((_, k) => h("option", { value: k }, String(k + 1)))));
  if (!weights) board.append(h("p", { class: "note" }, "This model has no attention, so there are no links to draw."));
  return h("div", {}, h("p", {}, "Point at a symbol, or move with the arrow keys: the links show where the model looked while it wrote it."), choose, board, heat);
}

/** Returns the places of the two largest numbers. @param {Float32Array} row */
function twoLargest(row) {
  const one = largest(row);
  let two = -1;
  for (let j = 0; j < row.length; ++j) if (j !== one && (two < 0 || row[j] > row[two])) two = j;
  return [one, two];
}
