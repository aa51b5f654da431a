// Makes elements. Texts only ever become text nodes or attributes, so markup in them is shown and never run.

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Sets attributes and handlers (`onclick`, …), and adds children.
 * @param {Element} element
 * @param {Record<string, any>} attributes null, undefined and false leave one out
 * @param {Child[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  return /** @type {HTMLElement} */ (fill(document.createElement(tag), attributes, children));
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function s(tag, attributes = {}, ...children) {
  return /** @type {SVGElement} */ (fill(document.createElementNS(SVG, tag), attributes, children));
}

/**
 * Returns a picture: an SVG with a description, which readers of the page's text get in its place.
 * @param {number} width
 * @param {number} height
 * @param {string} label
 * @param {...Child} children
 */
export function picture(width, height, label, ...children) {
  const box = { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, class: "picture" };
  return /** @type {SVGSVGElement} */ (s("svg", box, ...children));
}

/**
 * Returns a table, folded below a summary. Its rows are made when it is opened.
 * @param {string} title
 * @param {string[]} columns
 * @param {() => Child[][]} rows the first cell of each is its header
 */
export function foldedTable(title, columns, rows) {
  return folded(title, () => {
    const head = h("tr", {}, ...columns.map((name) => h("th", { scope: "col" }, name)));
    const body = rows().map(([first, ...rest]) =>
      h("tr", {}, h("th", { scope: "row", dir: "auto" }, first), ...rest.map((cell) => h("td", { dir: "auto" }, cell))));
    const table = h("table", {}, h("caption", {}, title), h("thead", {}, head), h("tbody", {}, ...body));
    return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, table);
  });
}

/**
 * Returns a part of the page that is made when it is opened.
 * @param {Node | string} title
 * @param {() => Node} make
 * @param {Record<string, any>} [attributes]
 */
export function folded(title, make, attributes = {}) {
  const details = /** @type {HTMLDetailsElement} */ (h("details", attributes, h("summary", {}, title)));
  const open = () => {
    if (details.open && details.childElementCount === 1) details.append(make());
  };
  details.addEventListener("toggle", open);
  open();
  return details;
}

let last = 0;

/** Returns a new id. @param {string} name */
export function newId(name) {
  last += 1;
  return `${name}-${last}`;
}

/**
 * Makes a row of buttons one stop of the Tab key, in which the arrow keys, Home and End move.
 * @param {HTMLElement} row
 */
export function arrowKeys(row) {
  const buttons = () => /** @type {HTMLElement[]} */ ([...row.querySelectorAll("button")]);
  const stop = () => buttons().forEach((button, i, all) => {
    const chosen = all.find((other) => other.getAttribute("aria-pressed") === "true") ?? all[0];
    button.tabIndex = button === chosen ? 0 : -1;
  });
  stop();
  row.addEventListener("keydown", (event) => {
    const all = buttons(), at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const forward = getComputedStyle(row).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    const to = { [forward]: at + 1, ArrowDown: at + 1, [back]: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(all.length - 1, to))].focus();
  });
  return { stop };
}
