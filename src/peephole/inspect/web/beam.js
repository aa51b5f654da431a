// The beam search as a tree: what was kept, what was dropped, and why.

import { END } from "./data.js";
import { foldedTable, h, picture, s } from "./dom.js";
import { FATES, number, percent, quoted, short, shown } from "./words.js";

const KEPT = new Set(["expanded", "returned", "beaten", "duplicate", "hopeless", "length_limit", "unfinished"]);
const LIKELY = Math.log(0.05); // a dropped extension less probable than this is drawn only on request
const MOST = 300; // nodes drawn; of a larger tree only the steps around the chosen one
const LISTED = 8;
const WIDE = 78, HIGH = 22;

/** @param {import("./view.js").View} view @returns {HTMLElement} */
export function beamPanel(view) {
  const { trace, selection, take } = view, beam = trace.beam;
  if (!beam) return h("p", { class: "note" }, "The answer was given, so nothing was searched.");
  let all = false;
  let chosen = bestLeaf(beam);
  const holder = h("div", { class: "scroll tree", tabindex: 0, role: "group", "aria-label": "Tree of the search" });
  const why = h("p", { class: "why", "aria-live": "polite" });
  const list = h("ul", { class: "hypotheses" });
  const draw = () => {
    const path = new Set(pathOf(beam, chosen));
    holder.replaceChildren(treePicture(beam, visibleNodes(beam, all, selection.step, path), path, (node) => {
      chosen = node;
      draw();
    }));
    why.textContent = explain(beam, chosen);
    if (take) {
      const tokens = pathOf(beam, chosen).map((node) => beam.text[node]).filter((text) => text !== END);
      why.append(" ", h("button", { type: "button", class: "small", onclick: () => take(tokens) }, "go on from here"));
    }
    for (const button of list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.node) === chosen));
    }
  };
  list.append(...endings(beam).slice(0, LISTED).map((node) => h("li", {}, h("button", {
    type: "button",
    class: "hypothesis",
    "data-node": node,
    onclick: () => {
      chosen = node;
      draw();
    },
  }, h("bdi", {}, short(textOf(beam, node), 60)), h("span", { class: "note" }, ` ${FATES[beam.fate[node]]}`)))));
  let drawnAt = -1;
  selection.watch((step) => {
    if (drawnAt >= 0 && beam.parent.length <= MOST) return;
    drawnAt = step;
    draw();
  });
  const more = h("label", { class: "line" }, h("input", { type: "checkbox", onchange: (/** @type {any} */ event) => {
    all = event.target.checked;
    draw();
  } }), " also draw improbable symbols that were dropped");
  const title = `All ${beam.parent.length} hypotheses as a table`;
  const table = foldedTable(title, ["hypothesis", "symbol", "probability", "score", "what became of it"], () =>
    beam.parent.slice(0, 2000).map((_, node) => [short(textOf(beam, node), 60), quoted(beam.text[node]), percent(beam.logProb[node] ?? -Infinity), number(beam.score[node], 3), FATES[beam.fate[node]]]));
  return h("div", {}, h("p", {}, "The search extends several beginnings at a time. Thick lines were kept, thin ones dropped; choose one to read why."), holder, why, more,
    h("h4", {}, "Where the search ended"), list, table);
}

/** @param {import("./data.js").Beam} beam @param {number} node */
function pathOf(beam, node) {
  const path = [];
  for (let at = node; at >= 0; at = beam.parent[at]) path.unshift(at);
  return path;
}

/** @param {import("./data.js").Beam} beam @param {number} node */
function textOf(beam, node) {
  return pathOf(beam, node).map((at) => shown(beam.text[at])).join(" ");
}

/** Returns the kept hypotheses that were not extended: returned ones first, then by score. @param {import("./data.js").Beam} beam */
function endings(beam) {
  const rank = (/** @type {number} */ node) => (["returned", "unfinished"].includes(beam.fate[node]) ? 0 : 1);
  const found = beam.fate.map((_, node) => node).filter((node) => KEPT.has(beam.fate[node]) && beam.fate[node] !== "expanded");
  return found.sort((a, b) => rank(a) - rank(b) || (beam.score[b] ?? -Infinity) - (beam.score[a] ?? -Infinity));
}

/** @param {import("./data.js").Beam} beam */
function bestLeaf(beam) {
  return endings(beam)[0] ?? 0;
}

/** Returns in a sentence what became of a hypothesis. @param {import("./data.js").Beam} beam @param {number} node */
function explain(beam, node) {
  const fate = beam.fate[node], score = beam.score[node];
  const rivals = beam.score.filter((_, other) => beam.step[other] === beam.step[node] && KEPT.has(beam.fate[other]) && beam.text[other] !== END).map((value) => value ?? -Infinity);
  const bar = fate === "outside_beam" && rivals.length ? ` Its score is ${number(score)}; the lowest that was kept at this length is ${number(Math.min(...rivals))}.` : ` Its score is ${number(score)}.`;
  return `${textOf(beam, node)} — ${FATES[fate]}.${bar}`;
}

/**
 * @param {import("./data.js").Beam} beam
 * @param {boolean} all
 * @param {number} step
 * @param {Set<number>} path
 */
function visibleNodes(beam, all, step, path) {
  let nodes = beam.parent.map((_, node) => node).filter((node) =>
    all || path.has(node) || KEPT.has(beam.fate[node]) || (beam.fate[node] === "outside_beam" && (beam.logProb[node] ?? -Infinity) > LIKELY));
  if (nodes.length > MOST) {
    const reach = Math.max(2, Math.floor((MOST / nodes.length) * Math.max(...beam.step) / 2));
    nodes = nodes.filter((node) => Math.abs(beam.step[node] - 1 - step) <= reach).slice(0, 4 * MOST);
  }
  return nodes;
}

/**
 * @param {import("./data.js").Beam} beam
 * @param {number[]} nodes
 * @param {Set<number>} path
 * @param {(node: number) => void} onChoose
 */
function treePicture(beam, nodes, path, onChoose) {
  const drawn = new Set(nodes), children = new Map();
  for (const node of nodes) {
    const parent = drawn.has(beam.parent[node]) ? beam.parent[node] : -1;
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(node);
  }
  const y = new Map();
  let row = 0;
  const place = (/** @type {number} */ node) => {
    const below = (children.get(node) ?? []).sort((/** @type {number} */ a, /** @type {number} */ b) => (beam.score[b] ?? -Infinity) - (beam.score[a] ?? -Infinity));
    const first = row;
    for (const child of below) place(child);
    if (!below.length) row += 1;
    y.set(node, HIGH * (first + 0.7));
  };
  place(-1);
  const start = Math.min(...nodes.map((node) => beam.step[node]), Infinity);
  const x = (/** @type {number} */ node) => 20 + WIDE * (node < 0 ? 0 : beam.step[node] - start + 1);
  const lines = [], points = [];
  for (const node of nodes) {
    const parent = drawn.has(beam.parent[node]) ? beam.parent[node] : -1;
    const kept = KEPT.has(beam.fate[node]), on = path.has(node);
    const x1 = x(parent) + (parent < 0 ? 0 : WIDE * 0.62), x2 = x(node), middle = (x1 + x2) / 2;
    const curve = `M${x1} ${y.get(parent)}C${middle} ${y.get(parent)} ${middle} ${y.get(node)} ${x2} ${y.get(node)}`;
    lines.push(s("path", { d: curve, class: `branch ${kept ? "kept" : "dropped"} ${on ? "on" : ""}` }));
    const text = [...shown(beam.text[node])].slice(0, 5).join("");
    const point = s("g", { class: `node ${kept ? "kept" : "dropped"} ${on ? "on" : ""} ${beam.fate[node]}`, onclick: () => onChoose(node) },
      s("title", {}, explain(beam, node)),
      s("rect", { x: x2, y: y.get(node) - 9, width: WIDE * 0.62, height: 18, rx: 5 }),
      s("text", { x: x2 + WIDE * 0.31, y: y.get(node) + 4.5, "text-anchor": "middle" }, text));
    points.push(point);
  }
  const steps = Math.max(0, ...nodes.map((node) => beam.step[node])) - start + 2;
  const label = `Tree of the search: ${nodes.length} hypotheses. The table below has all of them.`;
  return picture(WIDE * steps + 10, HIGH * Math.max(1, row) + 8, label, ...lines, s("circle", { cx: 18, cy: y.get(-1), r: 5, class: "root" }), ...points);
}
