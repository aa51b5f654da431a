// What moves in a report: colours, sorted tables, and the recorded predictions that open over it.

import { h } from "./dom.js";
import { sortable } from "./sort.js";
import { themeSwitch } from "./theme.js";
import { drawView } from "./view.js";

themeSwitch(/** @type {HTMLElement} */ (document.getElementById("theme")));
document.querySelectorAll("table.sortable").forEach((table) => sortable(/** @type {HTMLTableElement} */ (table)));

/** The recorded predictions, read when the first is opened. @type {Record<string, any>[] | null} */
let views = null;

/** Shows a recorded prediction over the report. @param {number} index */
function openView(index) {
  views ??= JSON.parse(document.getElementById("views")?.textContent ?? "[]");
  const raw = /** @type {Record<string, any>[]} */ (views)[index];
  const close = h("button", { type: "button", class: "small", onclick: () => dialog.close() }, "Close");
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { "aria-label": `Look inside: ${raw.source}` }, close, drawView(raw, null, null, 0)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal(); // Escape closes it, and the focus returns to the button
}
for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("button[data-view]"))) {
  button.addEventListener("click", () => openView(Number(button.dataset.view)));
  button.hidden = false;
}
document.documentElement.dataset.ready = "yes";
