// The pages of a study work without this; it folds the menu and sections, sorts tables, and copies settings.

/**
 * All elements that a selector finds, as HTML elements.
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {HTMLElement[]}
 */
function pageElements(root, selector) {
  return /** @type {HTMLElement[]} */ ([...root.querySelectorAll(selector)]);
}

/** Open and close the menu of narrow screens. */
function pageMenu() {
  const site = document.querySelector(".site");
  const button = document.querySelector(".menu");
  if (!site || !button) return;
  const show = (/** @type {boolean} */ open) => {
    site.classList.toggle("open", open);
    button.setAttribute("aria-expanded", String(open));
  };
  button.addEventListener("click", () => show(!site.classList.contains("open")));
  site.addEventListener("keydown", (event) => {
    if (/** @type {KeyboardEvent} */ (event).key === "Escape") show(false);
  });
  for (const link of pageElements(site, "nav a")) link.addEventListener("click", () => show(false));
}

/** Open the section that a link leads to, and all of them to print. */
function pageParts() {
  const parts = () => /** @type {HTMLDetailsElement[]} */ (pageElements(document, "details.part"));
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let one = target; one; one = one.parentElement) if (one instanceof HTMLDetailsElement) one.open = true;
    if (target && location.hash) target.scrollIntoView();
  };
  for (const button of pageElements(document, "[data-open]")) {
    button.addEventListener("click", () => {
      for (const part of parts()) part.open = button.dataset.open === "yes";
    });
  }
  /** @type {HTMLDetailsElement[]} */
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = parts().filter((part) => !part.open);
    for (const part of closed) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of closed) part.open = false;
  });
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();
}

/**
 * What a cell is sorted by: its number if it has one, or else its text.
 * @param {Element | undefined} cell
 * @returns {number | string}
 */
function pageValue(cell) {
  const text = cell instanceof HTMLElement ? cell.dataset.value ?? cell.innerText.trim() : "";
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

/**
 * Put the rows of a table into the order of a column; what has no value comes last.
 * @param {HTMLTableElement} table
 * @param {number} column
 * @param {boolean} ascending
 */
function pageSort(table, column, ascending) {
  const body = table.tBodies[0];
  if (!body) return;
  const rows = [...body.rows].map((row) => ({ row, value: pageValue(row.cells[column]) }));
  const missing = (/** @type {number | string} */ value) => value === "" || value === "\u2013";
  rows.sort((a, b) => {
    if (missing(a.value) || missing(b.value)) return Number(missing(a.value)) - Number(missing(b.value));
    const order =
      typeof a.value === "number" && typeof b.value === "number"
        ? a.value - b.value
        : String(a.value).localeCompare(String(b.value), "en", { numeric: true });
    return ascending ? order : -order;
  });
  body.append(...rows.map((one) => one.row));
}

/** Let the heads of tables of more than one row be pressed. */
function pageTables() {
  for (const found of pageElements(document, "table.sortable")) {
    const table = /** @type {HTMLTableElement} */ (found);
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
    if ((table.tBodies[0]?.rows.length ?? 0) < 2) continue;
    heads.forEach((head, column) => {
      if (!head.innerText.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.title = "sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        pageSort(table, column, ascending);
      });
    });
  }
}

/** Copy what stands in the element that a button names. */
function pageCopies() {
  for (const button of pageElements(document, "button[data-copy]")) {
    const before = button.textContent;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy ?? "");
      if (!source) return;
      try {
        await navigator.clipboard.writeText(source.textContent ?? "");
        button.textContent = "copied";
      } catch {
        getSelection()?.selectAllChildren(source);
        button.textContent = "selected: press Ctrl+C";
      }
      setTimeout(() => (button.textContent = before), 2000);
    });
  }
}

/** Show the files whose path has all words that are typed. */
function pageFinder() {
  const field = /** @type {HTMLInputElement | null} */ (document.querySelector("input.find"));
  const tree = document.querySelector(".tree");
  if (!field || !tree) return;
  const files = pageElements(tree, "li[data-path]");
  const folders = /** @type {HTMLDetailsElement[]} */ (pageElements(tree, "details"));
  const open = folders.map((folder) => folder.open);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const file of files) {
      const path = (file.dataset.path ?? "").toLowerCase();
      file.hidden = !words.every((word) => path.includes(word));
    }
    folders.forEach((folder, i) => {
      const some = !!folder.querySelector("li[data-path]:not([hidden])");
      folder.hidden = words.length > 0 && !some;
      folder.open = words.length > 0 ? some : !!open[i];
    });
  });
}

document.documentElement.classList.add("scripted");
document.addEventListener("DOMContentLoaded", () => {
  pageMenu();
  pageParts();
  pageTables();
  pageCopies();
  pageFinder();
});
