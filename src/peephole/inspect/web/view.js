// One prediction: its sentences and pictures, with one chosen symbol for all of them.

import { attentionPanel } from "./attention.js";
import { beamPanel } from "./beam.js";
import { bendPanel } from "./bend.js";
import { contrastPanel } from "./contrast.js";
import { openTrace } from "./data.js";
import { diagnosisSentences } from "./diagnosis.js";
import { folded, h, newId } from "./dom.js";
import { framesPicture } from "./frames.js";
import { gatesPanel } from "./gates.js";
import { saliencyPanel } from "./saliency.js";
import { stepsPanel } from "./steps.js";
import { short, summarize } from "./words.js";

/**
 * @typedef {object} Selection The chosen symbol of the target.
 * @property {number} step from 0
 * @property {(step: number) => void} set
 * @property {(watcher: (step: number) => void) => void} watch calls the watcher now and at each change
 *
 * @typedef {object} View What a panel draws.
 * @property {import("./data.js").Trace} trace
 * @property {Record<string, any>} raw the entry of the page's data
 * @property {Selection} selection
 * @property {import("./frames.js").Frames | null} frames
 * @property {Actions["take"] | null} take null where nothing decodes
 * @property {Actions["bend"] | null} bend null where nothing decodes
 *
 * @typedef {object} Actions What the engine inside the page can do anew.
 * @property {(tokens: string[]) => void} take decodes with these symbols as the beginning of the target
 * @property {(step: number, weights: number[] | null) => void} bend decodes with other attention weights; null: the model's own
 */

/** @param {number} count @param {number} first @returns {Selection} */
function makeSelection(count, first) {
  /** @type {((step: number) => void)[]} */
  const watchers = [];
  const selection = {
    step: Math.max(0, Math.min(first, count - 1)),
    set(/** @type {number} */ step) {
      if (step === selection.step || step < 0 || step >= count) return;
      selection.step = step;
      watchers.forEach((watcher) => watcher(step));
    },
    watch(/** @type {(step: number) => void} */ watcher) {
      watchers.push(watcher);
      watcher(selection.step);
    },
  };
  return selection;
}

/**
 * @param {Record<string, any>} raw an entry of `views` in the page's data
 * @param {Actions | null} actions
 * @param {string | null} heading
 * @param {number} step the symbol that is chosen first
 */
export function drawView(raw, actions, heading, step) {
  const trace = openTrace(raw.trace), frames = raw.frames ? framesPicture(raw.frames) : null;
  /** @type {View} */
  const view = { trace, raw, frames, take: actions?.take ?? null, bend: actions?.bend ?? null, selection: makeSelection(trace.tokens.length, step) };
  const title = newId("view");
  const sentences = [...summarize(trace, frames ? "frame" : "symbol"), ...diagnosisSentences(raw)];
  const head = h("h2", { id: title, class: "answer" }, h("bdi", { class: "from" }, short(raw.source)), h("span", { class: "arrow", "aria-label": "becomes" }, " → "),
    h("bdi", { class: "to" }, short(trace.text) || "(nothing)"));
  if (!trace.tokens.length) return h("article", { class: "view", "aria-labelledby": title }, head, ...sentences.map((text) => h("p", {}, text)));
  return h("article", { class: "view", "aria-labelledby": title },
    heading ? h("p", { class: "kicker" }, heading) : null, head,
    h("div", { class: "summary" }, ...sentences.map((text) => h("p", {}, text))),
    panel("Where it looked", attentionPanel(view)),
    panel("How sure it was, and what else it considered", stepsPanel(view)),
    raw.rival ? foldedPanel("Why this, and not that", () => contrastPanel(view), true) : null,
    trace.beam ? foldedPanel("What else the search tried", () => beamPanel(view), false) : null,
    view.bend && trace.names.includes("attention") ? foldedPanel("Bend the attention", () => bendPanel(view), false) : null,
    raw.saliency || raw.saliency_note ? foldedPanel("Which parts of the source mattered", () => saliencyPanel(view), false) : null,
    trace.names.some((name) => name.startsWith("decoder.")) ? foldedPanel("Inside: gates and memory", () => gatesPanel(view), false) : null);
}

/** @param {string} title @param {Node} body */
function panel(title, body) {
  return h("div", { class: "panel" }, h("h3", { class: "title" }, title), body);
}

/** @param {string} title @param {() => Node} make @param {boolean} open */
function foldedPanel(title, make, open) {
  return folded(h("h3", { class: "title" }, title), make, { class: "panel", open });
}
