// Builds the page from the data inside it.

import { editor } from "./editor.js";
import { h } from "./dom.js";

const page = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("data")).textContent ?? "{}");
const main = /** @type {HTMLElement} */ (document.getElementById("main"));

/** @param {string} theme */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const dark = theme === "dark";
  toggle.textContent = dark ? "Light" : "Dark";
  toggle.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
}
const toggle = /** @type {HTMLElement} */ (document.getElementById("theme"));
toggle.addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
toggle.hidden = false;

const columns = h("div", { class: page.views.length > 1 ? "columns two" : "columns" });
page.views.forEach((/** @type {any} */ raw, /** @type {number} */ i) => {
  const column = h("div", { class: "column" });
  const heading = page.views.length > 1 ? `${i + 1} of ${page.views.length}: ${page.models[raw.model].name}` : null;
  column.append(editor(raw, heading, raw.frames === null));
  columns.append(column);
});
main.replaceChildren(columns);
document.documentElement.dataset.ready = "yes";
