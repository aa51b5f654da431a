// A prediction that can be edited: with the engine inside the page, it is decoded anew.

import { h, newId } from "./dom.js";
import { startLive } from "./live.js";
import { drawView } from "./view.js";

const PAUSE = 150; // milliseconds without a key before a new source is decoded

/**
 * @param {Record<string, any>} raw an entry of `views` in the page's data
 * @param {string | null} heading
 * @param {boolean} canEdit whether the source is a text
 */
export function editor(raw, heading, canEdit) {
  const holder = h("div"), status = h("p", { class: "note", role: "status" }, "The recorded prediction.");
  const sourceId = newId("source"), prefixId = newId("prefix");
  const source = /** @type {HTMLInputElement} */ (h("input", { type: "text", id: sourceId, dir: "auto", disabled: true, autocomplete: "off", spellcheck: "false" }));
  const prefix = /** @type {HTMLInputElement} */ (h("input", { type: "text", id: prefixId, dir: "auto", disabled: true, autocomplete: "off", spellcheck: "false" }));
  const back = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "small", disabled: true, onclick: restore }, "Back to the recorded one"));
  source.value = raw.source;
  /** @type {import("./live.js").Live | null} */
  let live = null;
  /** @type {string | string[]} */
  let begin = "";
  /** @type {import("./live.js").How["bend"]} */
  let bend = null;
  let timer = 0;

  const draw = (/** @type {Record<string, any>} */ shown, step = 0) => {
    const panels = () => /** @type {HTMLDetailsElement[]} */ ([...holder.querySelectorAll("details.panel")]);
    const title = (/** @type {Element} */ part) => part.querySelector("summary")?.textContent;
    const before = new Map(panels().map((part) => [title(part), part.open]));
    holder.replaceChildren(drawView(shown, live && { take, bend: bendAt }, heading, step));
    for (const part of panels()) part.open = before.get(title(part)) ?? part.open;
  };
  const decode = async (step = 0) => {
    if (!live) return;
    const started = performance.now();
    if (!source.value) {
      status.textContent = "An empty source has nothing to decode.";
      return;
    }
    try {
      const trace = await live.decode(source.value, { prefix: begin, bend, beamSize: raw.beam_size });
      draw({ trace, source: source.value, reference: source.value === raw.source ? raw.reference : null, model: raw.model }, step);
      const changed = [begin.length ? "beginning given" : "", bend ? "attention bent" : ""].filter(Boolean).join(", ");
      status.textContent = `Decoded in ${Math.max(1, Math.round(performance.now() - started))} ms${changed ? `: ${changed}` : ""}.`;
      back.disabled = false;
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "AbortError") status.textContent = `Not decoded: ${/** @type {Error} */ (error).message}`;
    }
  };
  /** Decodes anew from a beginning of symbols. @param {string[]} tokens */
  function take(tokens) {
    begin = tokens;
    prefix.value = tokens.join(" ");
    decode(tokens.length - 1);
  }
  /** @param {number} step @param {number[] | null} weights */
  function bendAt(step, weights) {
    bend = weights && { step, weights };
    decode(step);
  }
  function restore() {
    source.value = raw.source;
    prefix.value = "";
    begin = "";
    bend = null;
    back.disabled = true;
    status.textContent = "The recorded prediction.";
    draw(raw);
  }
  const later = () => {
    clearTimeout(timer);
    timer = window.setTimeout(decode, PAUSE);
  };
  source.addEventListener("input", () => {
    bend = null;
    later();
  });
  prefix.addEventListener("input", () => {
    begin = prefix.value;
    later();
  });
  draw(raw);
  const form = h("div", { class: "editor", role: "group", "aria-label": heading ? `Edit: ${heading}` : "Edit" },
    h("label", { for: sourceId }, "Source"), source, h("label", { for: prefixId }, "The answer begins with"), prefix, back);
  if (!canEdit) return h("div", {}, holder);
  startLive(raw.model).then((started) => {
    live = started;
    source.disabled = prefix.disabled = false;
    status.textContent = "Edit the source, and the engine inside this page decodes it.";
    draw(raw);
    document.documentElement.dataset.live = "yes";
  }, (error) => {
    form.hidden = true;
    status.textContent = error.message;
    document.documentElement.dataset.live = "no";
  });
  return h("div", {}, form, status, holder);
}
