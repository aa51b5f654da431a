// Sorts a table by the column whose heading is pressed: numbers by value, texts by the reader's language.
for (const table of document.querySelectorAll("table.sortable")) {
  table.addEventListener("click", (event) => {
    const heading = event.target.closest("th[scope=col]");
    if (!heading || !event.target.closest("button")) return;
    const ascending = heading.getAttribute("aria-sort") === "descending";
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const column = heading.cellIndex, sign = ascending ? 1 : -1, body = table.tBodies[0];
    const key = (row) => row.cells[column].textContent.trim();
    const number = (text) => parseFloat(text.replaceAll(",", ""));
    const compare = (one, two) => {
      const [a, b] = [key(one), key(two)], difference = number(a) - number(b);
      return sign * (Number.isNaN(difference) ? a.localeCompare(b) : difference);
    };
    body.append(...[...body.rows].sort(compare));
  });
}
