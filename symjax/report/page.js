"use strict";

// Tables: buttons that sort, a field that filters, buttons for kinds of verdicts.

// So that "net 10" comes after "net 9"; a collator that knows numbers is slow.
function natural(text) {
  return text.trim().toLowerCase().replace(/\d+/g, (digits) => digits.padStart(9, "0"));
}

function sorted(rows, column, numeric, sign) {
  // Missing cells stay last in either direction.
  const keyed = rows.map((row) => {
    const cell = row.cells[column];
    if ("missing" in cell.dataset) return [row, null];
    if (!numeric) return [row, natural(cell.textContent)];
    const value = Number(cell.dataset.key);
    return [row, Number.isNaN(value) ? null : value];
  });
  keyed.sort(([, a], [, b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * ((a > b) - (a < b));
  });
  return keyed.map(([row]) => row);
}

function prepare(box) {
  const [body] = box.querySelector("table").tBodies;
  const rows = [...body.rows];
  const heads = [...box.querySelectorAll("thead th")];
  const kinds = [...box.querySelectorAll("button[data-kind]")];
  const [field, count] = [box.querySelector(".filter"), box.querySelector(".count")];
  let order = "";

  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const pressed = kinds
      .filter((button) => button.getAttribute("aria-pressed") === "true")
      .map((button) => button.dataset.kind);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const named = words.every((word) => text.includes(word));
      row.hidden = !(named && (!pressed.length || pressed.includes(row.dataset.kind)));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    const all = `${rows.length} row${rows.length === 1 ? "" : "s"}`;
    count.textContent = (shown < rows.length ? `${shown} of ${all} shown` : all) + order;
  };

  const sort = (head) => {
    const now = head.getAttribute("aria-sort");
    const next = { ascending: "descending", descending: "" }[now] ?? "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    if (next) head.setAttribute("aria-sort", next);
    order = next && `, by ${head.textContent}, ${next}`;
    const sign = next === "descending" ? -1 : 1;
    const column = heads.indexOf(head);
    body.replaceChildren(
      ...(next ? sorted(rows, column, "numeric" in head.dataset, sign) : rows),
    );
    show();
  };

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head));
    head.append(button);
  }
  for (const button of kinds) {
    button.addEventListener("click", () => {
      const pressed = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!pressed));
      show();
    });
  }
  field.addEventListener("input", show);
  box.querySelectorAll(".tools").forEach((tools) => { tools.hidden = false; });
  show();
}

document.querySelectorAll(".sortable").forEach(prepare);

// Colors: as the system has them, until the button is pressed.

const dark = matchMedia("(prefers-color-scheme: dark)");
const colors = document.getElementById("colors");
const root = document.documentElement;

function isDark() {
  return root.dataset.colors ? root.dataset.colors === "dark" : dark.matches;
}

function show() {
  colors.setAttribute("aria-pressed", String(isDark()));
}

colors.addEventListener("click", () => {
  root.dataset.colors = isDark() ? "light" : "dark";
  show();
});
dark.addEventListener("change", show);
colors.hidden = false;
show();
