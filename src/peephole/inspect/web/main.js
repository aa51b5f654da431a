// Builds the page from the data inside it.

import { editor } from "./editor.js";
import { h } from "./dom.js";
import { themeSwitch } from "./theme.js";

const page = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("data")).textContent ?? "{}");
const main = /** @type {HTMLElement} */ (document.getElementById("main"));

themeSwitch(/** @type {HTMLElement} */ (document.getElementById("theme")));

const columns = h("div", { class: page.views.length > 1 ? "columns two" : "columns" });
page.views.forEach((/** @type {any} */ raw, /** @type {number} */ i) => {
  const column = h("div", { class: "column" });
  const heading = page.views.length > 1 ? `${i + 1} of ${page.views.length}: ${page.models[raw.model].name}` : null;
  column.append(editor(raw, heading, raw.frames === null));
  columns.append(column);
});
main.replaceChildren(columns);
document.documentElement.dataset.ready = "yes";
