// Gates, memory and peepholes over time.

import { foldedTable, h, newId, picture, s } from "./dom.js";
import { heatMap } from "./heat.js";
import { number, part, shown } from "./words.js";

/** What the arrays of a layer are called, and the range of their numbers. @type {Record<string, [string, number]>} */
const PARTS = {
  c: ["memory (cell state c)", 0],
  h: ["output (hidden state h)", 1],
  i: ["input gate i: how much new is written", 1],
  f: ["forget gate f: how much is kept", 1],
  o: ["output gate o: how much is shown", 1],
  g: ["candidate g: what would be written", 1],
  r: ["reset gate r", 1],
  z: ["update gate z: how much is kept", 1],
  n: ["candidate n", 1],
};
const LINES = ["i", "f", "o", "r", "z"]; // gates of 0 to 1, drawn as lines
const HIGH = 150, LEFT = 40;
const DRAWN = 400; // points of a line

/** @param {import("./view.js").View} view @returns {HTMLElement} */
export function gatesPanel(view) {
  const { trace } = view;
  const layers = [...new Set(trace.names.map((name) => name.match(/^(encoder\.\d+\.\d+|decoder\.\d+)\./)?.[1]))].filter((layer) => layer !== undefined).reverse();
  if (!layers.length) return h("p", { class: "note" }, "Gates are not part of what was recorded.");
  let layer = layers.find((name) => name?.startsWith("decoder")) ?? layers[0], shownPart = "";
  const body = h("div");
  const partId = newId("part"), layerId = newId("layer");
  const partChoice = /** @type {HTMLSelectElement} */ (h("select", { id: partId, onchange: () => {
    shownPart = partChoice.value;
    draw();
  } }));
  const draw = () => {
    const has = (/** @type {string} */ name) => trace.names.includes(`${layer}.${name}`);
    const parts = Object.keys(PARTS).filter(has);
    if (!parts.includes(shownPart)) shownPart = has("c") ? "c" : "h";
    partChoice.replaceChildren(...parts.map((name) => h("option", { value: name, selected: name === shownPart }, PARTS[name][0])));
    body.replaceChildren(layerPictures(view, /** @type {string} */ (layer), shownPart));
  };
  const layerChoice = h("select", { id: layerId, onchange: (/** @type {any} */ event) => {
    layer = event.target.value;
    draw();
  } }, ...layers.map((name) => h("option", { value: name }, layerName(/** @type {string} */ (name)))));
  draw();
  return h("div", {}, h("p", {}, "Gates are numbers from 0, shut, to 1, open, one for each unit. The lines are means over all units."),
    h("div", { class: "line" }, h("label", { for: layerId }, "Layer: "), layerChoice, h("label", { for: partId }, " Squares show: "), partChoice), body);
}

/** @param {string} layer as traces name it */
function layerName(layer) {
  const [side, index, direction] = layer.split(".");
  const way = direction === undefined ? "" : direction === "0" ? ", reading forwards" : ", reading backwards";
  return `${side} layer ${Number(index) + 1}${way}`;
}

/** Returns the mean of a row. @param {Float32Array} row */
function mean(row, of = (/** @type {number} */ x) => x) {
  let sum = 0;
  for (const value of row) sum += of(value);
  return sum / row.length;
}

/** @param {import("./view.js").View} view @param {string} layer @param {string} shownPart */
function layerPictures(view, layer, shownPart) {
  const { trace } = view, get = (/** @type {string} */ name) => trace.array(`${layer}.${name}`);
  const inDecoder = layer.startsWith("decoder"), names = inDecoder ? trace.tokens : trace.source;
  const lines = LINES.flatMap((name) => {
    const array = get(name);
    return array ? [{ name: PARTS[name][0].split(":")[0], key: name, values: Array.from({ length: array.rows }, (_, t) => mean(array.row(t))) }] : [];
  });
  const content = [linePicture("Gates, means over the units", lines, names, inDecoder ? view.selection : null)];
  const shares = peepholeShares(trace, layer);
  if (shares.length) {
    content.push(h("h4", {}, "The peepholes' part"),
      h("p", {}, "Through its peepholes a gate sees the memory itself. The lines show which part of a gate's input came from there: |W c| of |W c| + |all else|."),
      linePicture("The peepholes' part of each gate's input", shares, names, inDecoder ? view.selection : null));
  } else if (trace.names.includes(`${layer}.peephole_i`)) {
    content.push(h("p", { class: "note" }, "With layer normalisation the peepholes' part cannot be told from the rest of a gate's input."));
  } else content.push(h("p", { class: "note" }, "This layer has no peepholes."));
  const squares = get(shownPart);
  if (squares) {
    const range = PARTS[shownPart][1] || Math.max(1, ...Array.from({ length: squares.rows }, (_, t) => squares.row(t).reduce((most, x) => Math.max(most, Math.abs(x)), 0)));
    const units = trace.means[`${layer}.${shownPart}`];
    content.push(h("h4", {}, PARTS[shownPart][0]),
      h("p", { class: "note" }, units ? `Each square is the mean of ${units} units: all of them would make this file too large.` : `A row for each symbol, a column for each of ${squares.columns} units; blue is negative. The strongest colour is ${number(range)}.`),
      heatMap(squares, names, [], `${PARTS[shownPart][0]} of ${layerName(layer)}, by symbol and unit`, inDecoder ? view.selection : null, range));
  }
  content.push(foldedTable("Gates as a table", ["symbol", ...lines.map(({ name }) => name), ...shares.map(({ name }) => `peephole part of ${name}`)], () =>
    Array.from({ length: Math.min(2000, lines[0]?.values.length ?? 0) }, (_, t) => [shown(names[t] ?? String(t + 1)), ...lines.map(({ values }) => number(values[t])), ...shares.map(({ values }) => part(values[t]))])));
  return h("div", {}, ...content);
}

/** Returns for each gate |W c| / (|W c| + |all else|), sums over the units. @param {import("./data.js").Trace} trace @param {string} layer */
function peepholeShares(trace, layer) {
  if (trace.architecture.layer_norm) return [];
  return ["i", "f", "o"].flatMap((key) => {
    const own = trace.array(`${layer}.peephole_${key}`), all = trace.array(`${layer}.pre_${key}`);
    if (!own || !all) return [];
    const values = Array.from({ length: own.rows }, (_, t) => {
      let through = 0, rest = 0;
      for (let unit = 0; unit < own.columns; ++unit) {
        through += Math.abs(own.at(t, unit));
        rest += Math.abs(all.at(t, unit) - own.at(t, unit));
      }
      return through + rest ? through / (through + rest) : 0;
    });
    return [{ name: PARTS[key][0].split(":")[0], key, values }];
  });
}

/**
 * Returns lines of numbers from 0 to 1 over the symbols.
 * @param {string} label
 * @param {{name: string, key: string, values: number[]}[]} lines
 * @param {string[]} names
 * @param {import("./view.js").Selection | null} selection
 */
function linePicture(label, lines, names, selection) {
  const count = lines[0]?.values.length ?? 0, wide = Math.max(8, Math.min(44, 1200 / Math.max(1, count))), width = LEFT + wide * count + 10;
  const x = (/** @type {number} */ t) => LEFT + wide * (t + 0.5), y = (/** @type {number} */ value) => 10 + HIGH * (1 - value);
  const every = Math.ceil(count / DRAWN);
  const grid = [0, 0.5, 1].flatMap((value) => [s("line", { x1: LEFT, x2: width, y1: y(value), y2: y(value), class: "grid" }), s("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end", class: "name" }, String(value))]);
  const curves = lines.map(({ key, values }) => s("polyline", { class: `curve curve-${key}`, points: values.map((value, t) => (t % every ? "" : `${x(t).toFixed(1)},${y(value).toFixed(1)}`)).filter(Boolean).join(" ") }));
  const dots = count > 60 ? [] : lines.flatMap(({ key, name, values }) => values.map((value, t) => s("circle", { cx: x(t), cy: y(value), r: 3, class: `dot curve-${key}` }, s("title", {}, `${name}, ${shown(names[t] ?? "")}: ${number(value)}`))));
  const texts = count > 60 ? [] : names.slice(0, count).map((name, t) => s("text", { x: x(t), y: HIGH + 28, "text-anchor": "middle", class: "name" }, [...shown(name)].slice(0, 4).join("")));
  const mark = s("rect", { y: 10, width: wide, height: HIGH, class: "now" });
  selection?.watch((step) => mark.setAttribute("x", String(LEFT + wide * step)));
  const legend = h("p", { class: "legend" }, ...lines.map(({ key, name }) => h("span", {}, h("span", { class: `key curve-${key}`, "aria-hidden": "true" }), name)));
  const drawn = picture(width, HIGH + 40, `${label}; the table below has the numbers`, selection ? mark : null, ...grid, ...curves, ...dots, ...texts);
  return h("div", {}, legend, h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, drawn));
}
