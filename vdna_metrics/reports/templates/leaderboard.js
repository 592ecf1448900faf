// Sorting, the only thing that needs a script.
(() => {
  const said = document.getElementById("sorted");
  const keyOf = (row, column) => row.cells[column].dataset.key ?? "";
  const compare = (a, b) => {
    if (a === "" || b === "") return 0;
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  for (const table of document.querySelectorAll(".ranking")) {
    const body = table.tBodies[0];
    for (const button of table.tHead.querySelectorAll("button")) {
      const head = button.closest("th");
      button.addEventListener("click", () => {
        // The best first, then the other way round.
        const now = head.getAttribute("aria-sort");
        const down = now ? now === "ascending" : head.dataset.first === "descending";
        for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [keyOf(a, head.cellIndex), keyOf(b, head.cellIndex)];
          // Where there is no number a row stays last, whichever way.
          if ((x === "") !== (y === "")) return x === "" ? 1 : -1;
          return down ? compare(y, x) : compare(x, y);
        });
        body.append(...rows);
        said.textContent = `Sorted by ${button.textContent.trim().replace(/\s+/g, " ")}, ${down ? "descending" : "ascending"}`;
      });
    }
  }
  document.documentElement.classList.add("sorts");
})();
