// Sorts a table by the column whose heading is pressed: numbers by value, texts by the reader's language.

/** @param {HTMLTableElement} table */
export function sortable(table) {
  table.addEventListener("click", (event) => {
    const pressed = /** @type {Element} */ (event.target).closest("th[scope=col] button");
    const heading = /** @type {HTMLTableCellElement | null} */ (pressed?.closest("th") ?? null);
    if (!heading) return;
    const ascending = heading.getAttribute("aria-sort") === "descending";
    for (const other of table.querySelectorAll("th[scope=col]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const column = heading.cellIndex, sign = ascending ? 1 : -1, body = table.tBodies[0];
    const key = (/** @type {HTMLTableRowElement} */ row) => row.cells[column].textContent?.trim() ?? "";
    const number = (/** @type {string} */ text) => parseFloat(text.replaceAll(",", ""));
    body.append(...[...body.rows].sort((one, two) => {
      const a = key(one), b = key(two), difference = number(a) - number(b);
      return sign * (Number.isNaN(difference) ? a.localeCompare(b) : difference);
    }));
  });
}
