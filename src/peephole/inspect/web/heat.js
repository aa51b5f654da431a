// A heat map: a square for each number, or for the largest of a block of numbers where there are too many.

import { h, picture, s } from "./dom.js";
import { direction } from "./strip.js";
import { shown } from "./words.js";

const MOST_ROWS = 60, MOST_COLUMNS = 120; // squares drawn
const WITH_NAMES = 60; // rows or columns that have room for names

/**
 * @param {import("./data.js").Matrix} numbers
 * @param {string[]} rowNames
 * @param {string[]} columnNames
 * @param {string} label what the picture shows
 * @param {import("./view.js").Selection | null} selection its step's row is marked, and a click chooses one
 * @param {number} [range] numbers of -range to range are drawn, negative ones in another colour; 1: all are 0 to 1
 */
export function heatMap(numbers, rowNames, columnNames, label, selection, range = 1) {
  const byRow = Math.ceil(numbers.rows / MOST_ROWS), byColumn = Math.ceil(numbers.columns / MOST_COLUMNS);
  const rows = Math.ceil(numbers.rows / byRow), columns = Math.ceil(numbers.columns / byColumn);
  const side = rows > 20 ? 12 : 20, wide = columns > 60 ? 7 : columns > 24 ? 12 : 24;
  const showRows = byRow === 1 && rows <= WITH_NAMES && rowNames.length > 0;
  const showColumns = byColumn === 1 && columns <= WITH_NAMES && columnNames.length > 0;
  const longest = showRows ? Math.min(12, Math.max(...rowNames.map((name) => [...shown(name)].length))) : 0;
  const left = showRows ? 10 + 9 * longest : 4, top = showColumns ? 26 : 4;
  const mirrored = direction(columnNames) === "rtl";
  const x = (/** @type {number} */ column) => left + wide * (mirrored ? columns - 1 - column : column);
  const cells = [];
  for (let row = 0; row < rows; ++row) {
    for (let column = 0; column < columns; ++column) {
      const value = extreme(numbers, row * byRow, column * byColumn, byRow, byColumn) / range;
      if (Math.abs(value) < 0.01) continue;
      cells.push(s("rect", { x: x(column), y: top + side * row, width: wide - 1, height: side - 1, class: value < 0 ? "cold" : "hot", "fill-opacity": Math.min(1, Math.abs(value)).toFixed(2) }));
    }
  }
  const name = (/** @type {string} */ text) => [...shown(text)].slice(0, 12).join("");
  const room = wide > 20 ? 3 : 1; // letters of a column's name; of numbers that are longer every fifth is written
  const every = columns >= 10 ** room && columnNames.every((text, column) => text === String(column + 1)) ? 5 : 1;
  const headed = columnNames.slice(0, columns).map((text, column) => ({ text: [...name(text)].slice(0, every > 1 ? 12 : room).join(""), column }));
  const names = [
    ...(showRows ? rowNames.slice(0, rows).map((text, row) => s("text", { x: left - 6, y: top + side * (row + 0.7), "text-anchor": "end", class: "name" }, name(text))) : []),
    ...(showColumns ? headed.filter(({ column }) => (column + 1) % every === 0).map(({ text, column }) => s("text", { x: x(column) + wide / 2, y: top - 8, "text-anchor": "middle", class: "name" }, text)) : []),
  ];
  const frame = s("rect", { x: left - 1, y: top - 1, width: wide * columns + 1, height: side * rows + 1, class: "frame" });
  const mark = s("rect", { x: left - 1, width: wide * columns + 1, height: side + 1, class: "mark" });
  const drawn = picture(left + wide * columns + 4, top + side * rows + 4, label, frame, ...cells, ...names, mark);
  selection?.watch((step) => mark.setAttribute("y", String(top - 1 + side * Math.floor(step / byRow))));
  if (!selection) mark.remove();
  else {
    drawn.addEventListener("click", (event) => {
      const box = drawn.getBoundingClientRect(), scale = drawn.viewBox.baseVal.height / box.height;
      const row = Math.floor(((/** @type {MouseEvent} */ (event).clientY - box.top) * scale - top) / side);
      if (row >= 0 && row < rows) selection.set(row * byRow);
    });
  }
  const note = byRow * byColumn > 1 ? h("p", { class: "note" }, `Each square stands for the largest of ${byRow} × ${byColumn} numbers.`) : null;
  return h("div", {}, h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, drawn), note);
}

/** Returns the largest |number|. @param {import("./data.js").Matrix} numbers */
export function largestSize(numbers) {
  let most = 0;
  for (let row = 0; row < numbers.rows; ++row) for (const value of numbers.row(row)) most = Math.max(most, Math.abs(value));
  return most;
}

/** Returns the number of a block that is farthest from 0. @param {import("./data.js").Matrix} numbers */
function extreme(numbers, /** @type {number} */ row, /** @type {number} */ column, /** @type {number} */ byRow, /** @type {number} */ byColumn) {
  let found = 0;
  for (let r = row; r < Math.min(numbers.rows, row + byRow); ++r) {
    for (let c = column; c < Math.min(numbers.columns, column + byColumn); ++c) {
      const value = numbers.at(r, c);
      if (Math.abs(value) > Math.abs(found)) found = value;
    }
  }
  return found;
}
