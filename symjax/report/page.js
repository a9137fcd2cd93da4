"use strict";

// Tables: buttons that sort, a field that filters, buttons for kinds of verdicts.

const [MANY, FIRST] = [600, 300]; // of more rows than many, only the first are laid out

// So that "net 10" comes after "net 9"; a collator that knows numbers is slow.
function natural(text) {
  return text.trim().toLowerCase().replace(/\d+/g, (digits) => digits.padStart(9, "0"));
}

function order(rows, column, numeric, sign) {
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

function plural(count, what) {
  return count === 1 ? what.replace(/s$/, "") : what;
}

function prepare(box) {
  const [body] = box.querySelector("table").tBodies;
  const original = [...body.rows];
  const heads = [...box.querySelectorAll("thead th")];
  const texts = new Map(original.map((row) => [row, row.textContent.toLowerCase()]));
  const field = box.querySelector(".filter");
  const count = box.querySelector(".count");
  const more = box.querySelector(".more-rows");
  const kinds = [...box.querySelectorAll("[data-kind][aria-pressed]")];
  let rows = original;
  let sorted = "";
  let limit = original.length > MANY ? FIRST : Infinity;

  const say = (matched) => {
    const [all, shown] = [original.length, Math.min(matched, limit)];
    const number = (value) => value.toLocaleString("en-GB");
    let says = `${number(all)} ${plural(all, count.dataset.what)}`;
    if (shown < all) says = `${number(shown)} of ${says} shown`;
    if (shown < matched && matched < all) says += `, ${number(matched)} match`;
    count.textContent = says + sorted;
    more.hidden = shown === matched;
  };

  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const pressed = kinds
      .filter((button) => button.getAttribute("aria-pressed") === "true")
      .map((button) => button.dataset.kind);
    let matched = 0;
    for (const row of rows) {
      const named = words.every((word) => texts.get(row).includes(word));
      const kind = pressed.length === 0 || pressed.includes(row.dataset.kind);
      if (named && kind) matched += 1;
      row.hidden = !(named && kind && matched <= limit);
    }
    say(matched);
  };

  const sort = (head) => {
    const now = head.getAttribute("aria-sort");
    const next = { ascending: "descending", descending: "" }[now] ?? "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    rows = original;
    sorted = "";
    if (next) {
      head.setAttribute("aria-sort", next);
      sorted = `, by ${head.textContent}, ${next}`;
      const sign = next === "ascending" ? 1 : -1;
      rows = order(original, heads.indexOf(head), "numeric" in head.dataset, sign);
    }
    body.replaceChildren(); // moving rows one by one is slow when there are thousands
    show();
    for (const row of rows) body.append(row);
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
  more.addEventListener("click", () => {
    limit = Infinity;
    field.focus();
    show();
  });
  field.addEventListener("input", show);
  box.querySelectorAll(".tools").forEach((tools) => { tools.hidden = false; });
  show();
}

// Commands: a button that copies; where that is not allowed the text is selected.

function select(node) {
  const selection = getSelection();
  selection.removeAllRanges();
  const range = document.createRange();
  range.selectNodeContents(node);
  selection.addRange(range);
}

async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return "Copied";
  } catch {
    select(code);
    let copied = false;
    try {
      copied = document.execCommand("copy");
    } catch { /* the text stays selected */ }
    return copied ? "Copied" : "Selected: copy it with the keyboard";
  }
}

for (const button of document.querySelectorAll(".copy")) {
  const box = button.closest(".command");
  const says = box.querySelector(".copied");
  button.hidden = false;
  button.addEventListener("click", async () => {
    says.textContent = await copy(box.querySelector("code"));
    setTimeout(() => { says.textContent = ""; }, 4000);
  });
}

// Colours: as the system has them, until the button is pressed.

const dark = matchMedia("(prefers-color-scheme: dark)");
const colours = document.getElementById("colours");
const root = document.documentElement;

function isDark() {
  return root.dataset.colours ? root.dataset.colours === "dark" : dark.matches;
}

function tellColours() {
  colours.setAttribute("aria-pressed", String(isDark()));
}

colours.addEventListener("click", () => {
  root.dataset.colours = isDark() ? "light" : "dark";
  tellColours();
});
dark.addEventListener("change", tellColours);
colours.hidden = false;
tellColours();

// Details: open on paper, and where a link leads into them.

function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}

let closed = [];
addEventListener("hashchange", open);
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((details) => { details.open = true; });
});
addEventListener("afterprint", () => {
  closed.forEach((details) => { details.open = false; });
});
open();

document.querySelectorAll(".sortable").forEach(prepare);
const tally = document.getElementById("tally");
if (tally) tally.hidden = true; // the buttons say the same
