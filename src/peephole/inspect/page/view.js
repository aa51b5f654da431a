// One prediction: its sentences and pictures, with one chosen symbol for all of them.

import { attentionPanel } from "./attention.js";
import { beamPanel } from "./beam.js";
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
 * @property {((step: number, text: string) => void) | null} take decodes anew with another symbol; null where nothing decodes
 */

/** @param {number} count @returns {Selection} */
function makeSelection(count) {
  /** @type {((step: number) => void)[]} */
  const watchers = [];
  const selection = {
    step: 0,
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
 * @param {View["take"]} take
 * @param {string | null} heading
 */
export function drawView(raw, take, heading) {
  const trace = openTrace(raw.trace), frames = raw.frames ? framesPicture(raw.frames) : null;
  /** @type {View} */
  const view = { trace, raw, frames, take, selection: makeSelection(trace.tokens.length) };
  const title = newId("view");
  const sentences = [...summarize(trace, frames ? "frame" : "symbol"), ...diagnosisSentences(raw)];
  const head = h("h2", { id: title, class: "answer" }, h("bdi", { class: "from" }, short(raw.source)), h("span", { class: "arrow", "aria-label": "becomes" }, " → "),
    h("bdi", { class: "to" }, short(trace.text) || "(nothing)"));
  if (!trace.tokens.length) return h("article", { "aria-labelledby": title }, head, ...sentences.map((text) => h("p", {}, text)));
  return h("article", { class: "view", "aria-labelledby": title },
    heading ? h("p", { class: "kicker" }, heading) : null, head,
    h("div", { class: "summary" }, ...sentences.map((text) => h("p", {}, text))),
    panel("Where it looked", attentionPanel(view)),
    panel("How sure it was, and what else it considered", stepsPanel(view)),
    raw.rival ? foldedPanel("Why this, and not that", () => contrastPanel(view), true) : null,
    trace.beam ? foldedPanel("What else the search tried", () => beamPanel(view), false) : null,
    raw.saliency || raw.saliency_note ? foldedPanel("Which parts of the source mattered", () => saliencyPanel(view), false) : null,
    foldedPanel("Inside: gates and memory", () => gatesPanel(view), false));
}

/** @param {string} title @param {Node} body */
function panel(title, body) {
  const id = newId("panel");
  return h("section", { class: "panel", "aria-labelledby": id }, h("h3", { id, class: "title" }, title), body);
}

/** @param {string} title @param {() => Node} make @param {boolean} open */
function foldedPanel(title, make, open) {
  return folded(h("h3", { class: "title" }, title), make, { class: "panel", open });
}
