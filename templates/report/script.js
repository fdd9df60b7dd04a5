"use strict";
// Sorting, folding and, while a campaign runs, loading again. Without this script everything can still be read.

function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      sortBy(table, column, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
    });
  });
}

function sortBy(table, column, direction) {
  const heads = table.tHead.rows[0].cells;
  if (!heads[column]) return;
  for (const head of heads) head.setAttribute("aria-sort", head === heads[column] ? direction : "none");
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row, place) => ({ row, place, key: keyOf(row.cells[column]) }));
  rows.sort((a, b) => compare(a.key, b.key, sign) || a.place - b.place);
  table.tBodies[0].append(...rows.map((each) => each.row));
}

// The column that a table is sorted by, found again by its title: a column may come while a campaign runs.
function sortedBy(table) {
  const head = [...table.tHead.rows[0].cells].find((each) => each.getAttribute("aria-sort") !== "none");
  return head && [table.id, head.textContent, head.getAttribute("aria-sort")];
}

function keyOf(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = text === "" ? NaN : Number(text.replaceAll("−", "-").split(" ")[0]);
  return { text, number, none: text === "" || text === "–" };
}

// What is missing stays at the end, whichever way a column is sorted.
function compare(a, b, sign) {
  if (a.none || b.none) return a.none - b.none;
  if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return sign * (a.number - b.number);
  return sign * a.text.localeCompare(b.text);
}

function unfoldTarget() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  if (target) target.scrollIntoView();
}

function foldTools() {
  for (const tools of document.querySelectorAll(".tools")) {
    tools.hidden = false;
    for (const button of tools.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        const runs = tools.parentElement.querySelectorAll("details.run");
        for (const run of runs) run.open = button.dataset.fold === "open";
      });
    }
  }
}

// A page that loads itself again keeps what was unfolded, how tables were sorted and where it was scrolled to.
function keepLoading(seconds) {
  const key = "harness-report";
  const folds = () => [...document.querySelectorAll("details")];
  try {
    const kept = JSON.parse(sessionStorage.getItem(key) ?? "null");
    if (kept) {
      for (const each of folds()) if (each.id in kept.open) each.open = kept.open[each.id];
      for (const [id, title, direction] of kept.sorted) {
        const table = document.getElementById(id);
        if (table) sortBy(table, [...table.tHead.rows[0].cells].findIndex((each) => each.textContent === title), direction);
      }
      scrollTo(0, kept.top);
    }
  } catch { /* a browser that keeps nothing for files shows the page from its top */ }
  const pause = document.getElementById("pause");
  let timer = 0;
  const start = () => {
    timer = setTimeout(() => {
      try {
        const open = Object.fromEntries(folds().map((each) => [each.id, each.open]));
        const sorted = [...document.querySelectorAll("table.sortable")].map(sortedBy).filter(Boolean);
        sessionStorage.setItem(key, JSON.stringify({ open, sorted, top: scrollY }));
      } catch { /* as above */ }
      location.reload();
    }, seconds * 1000);
  };
  pause.hidden = false;
  pause.addEventListener("click", () => {
    if (timer) { clearTimeout(timer); timer = 0; pause.textContent = "Go on"; } else { pause.textContent = "Pause"; start(); }
  });
  start();
}

document.querySelectorAll("table.sortable").forEach(sortable);
foldTools();
addEventListener("hashchange", unfoldTarget);
if (document.body.dataset.refresh) keepLoading(Number(document.body.dataset.refresh));
else unfoldTarget();
