"use strict";
// Sorting, folding and, while a campaign runs, loading again. Without this script everything can still be read.

function sortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...body.rows].map((row, place) => ({ row, place, key: keyOf(row.cells[column]) }));
      rows.sort((a, b) => compare(a.key, b.key, sign) || a.place - b.place);
      body.append(...rows.map((each) => each.row));
    });
  });
}

function keyOf(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = text === "" ? NaN : Number(text.replace("−", "-").split(" ")[0]);
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

// A page that loads itself again keeps what was unfolded and where it was scrolled to.
function keepLoading(seconds) {
  const key = "harness-report";
  const folds = () => [...document.querySelectorAll("details")];
  try {
    const kept = JSON.parse(sessionStorage.getItem(key) ?? "null");
    if (kept) {
      folds().forEach((each, place) => { if (place in kept.open) each.open = kept.open[place]; });
      scrollTo(0, kept.top);
    }
  } catch { /* a browser that keeps nothing for files shows the page from its top */ }
  const pause = document.getElementById("pause");
  let timer = 0;
  const start = () => {
    timer = setTimeout(() => {
      try {
        sessionStorage.setItem(key, JSON.stringify({ open: folds().map((each) => each.open), top: scrollY }));
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
