// A row of symbols as buttons. Of a long row only the symbols around one place are made; a slider moves them.

import { arrowKeys, h } from "./dom.js";
import { RIGHT_TO_LEFT, shown } from "./words.js";

const MOST = 60; // symbols shown at once

/**
 * @typedef {object} Strip
 * @property {HTMLElement} element
 * @property {(place: number) => HTMLElement | null} button of a place, if it is shown
 * @property {(place: number) => void} show moves a long row so that the place is shown
 * @property {(chosen: number | null) => void} choose marks a place as chosen
 * @property {(share: (place: number) => number) => void} shade colours each place by a share of -1 to 1
 */

/**
 * @param {string[]} texts
 * @param {string} label
 * @param {(place: number, how: "click" | "focus" | "hover") => void} onChoose
 * @param {(place: number) => string} describe what a reader hears and a pointer shows
 * @returns {Strip}
 */
export function strip(texts, label, onChoose, describe) {
  const row = h("div", { class: "strip", role: "group", "aria-label": label, dir: direction(texts) });
  const element = h("div", { class: "strip-box" }, row);
  /** @type {HTMLElement[]} */
  let buttons = [];
  let first = 0, chosen = /** @type {number | null} */ (null), share = (/** @type {number} */ _place) => 0;
  let keys = { stop() {} };

  const paint = () => buttons.forEach((button, i) => {
    const found = share(first + i);
    button.style.setProperty("--share", String(Math.min(1, Math.abs(found))));
    button.classList.toggle("minus", found < 0);
    button.setAttribute("aria-pressed", String(first + i === chosen));
    button.title = describe(first + i);
    button.setAttribute("aria-label", describe(first + i));
  });
  const make = () => {
    buttons = texts.slice(first, first + MOST).map((text, i) => h("button", {
      type: "button",
      class: "symbol",
      onclick: () => onChoose(first + i, "click"),
      onfocus: () => onChoose(first + i, "focus"),
      onmouseenter: () => onChoose(first + i, "hover"),
    }, h("bdi", {}, shown(text))));
    row.replaceChildren(...buttons);
    paint();
    keys.stop();
  };
  make();
  keys = arrowKeys(row);

  /** @type {HTMLInputElement | null} */
  let slider = null;
  if (texts.length > MOST) {
    const most = texts.length - MOST;
    slider = /** @type {HTMLInputElement} */ (h("input", { type: "range", min: 0, max: most, value: 0, "aria-label": `${label}: part shown` }));
    const where = h("span", { class: "note" });
    const move = () => {
      first = Number(slider?.value);
      where.textContent = `${first + 1}–${first + MOST} of ${texts.length}`;
      make();
      element.dispatchEvent(new Event("moved"));
    };
    slider.addEventListener("input", move);
    where.textContent = `1–${MOST} of ${texts.length}`;
    element.append(h("div", { class: "line" }, slider, where));
  }
  return {
    element,
    button: (place) => buttons[place - first] ?? null,
    show(place) {
      if (!slider || (place >= first && place < first + MOST)) return;
      slider.value = String(place - MOST / 2);
      slider.dispatchEvent(new Event("input"));
    },
    choose(place) {
      chosen = place;
      paint();
      keys.stop();
    },
    shade(found) {
      share = found;
      paint();
    },
  };
}

const LEFT_TO_RIGHT = /\p{L}/u;

/** Returns the direction of a row of symbols: that of its first letter. @param {string[]} texts */
export function direction(texts) {
  for (const text of texts) {
    if (RIGHT_TO_LEFT.test(text)) return "rtl";
    if (LEFT_TO_RIGHT.test(text)) return "ltr";
  }
  return "ltr";
}
