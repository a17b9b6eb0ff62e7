"use strict";

// The first rows of a catalogue, and menus for what each column is taken for.

const ROLES = [
  ["not used", "not used"],
  ["id", "id"],
  ["name", "name"],
  ["category path", "category or path"],
  ["category 1", "category, level 1"],
  ...[2, 3, 4, 5, 6].map((number) => [`category ${number}`, `category, level ${number}`]),
  ["photograph", "photograph"],
  ["more photographs", "more photographs"],
  ["brand", "brand"],
  ["group", "group (variants of a product)"],
];
// How shop systems write themselves, where that is not only a capital.
const SHOPS = { woocommerce: "WooCommerce", prestashop: "PrestaShop", bigcommerce: "BigCommerce" };
let preview = null;
let showsAll = false;

function name(layout) {
  return SHOPS[layout] || layout.split("-").map((word) => word[0].toUpperCase() + word.slice(1)).join(" ");
}

async function loadColumns() {
  showPreview(await request(`/api/catalogues/${catalogId}/preview`));
}

function showPreview(found) {
  // Photographs of another reading have other addresses.
  preview = { ...found, version: Date.now() };
  const { table, layout, products, categories, rows, readable, message } = found;
  const names = categories.map((each) => `${count(each.count, "category", "categories")} in ${each.level}`);
  const kind = layout ? `an export of ${name(layout)}` : table ? "a table" : "folders of photographs";
  find("columns-title").textContent = message ? "Which column is which?" : "Are these columns right?";
  find("columns-about").textContent = message || [
    `Read as ${kind}: ${count(products, "product")}${names.length ? `, ${names.join(", ")}` : ""}.`,
    rows.length ? `${readable === rows.length ? "All" : readable} of the first ${rows.length} can be read.` : "",
  ].join(" ");
  find("columns-about").classList.toggle("bad", Boolean(message));
  find("columns-problems").replaceChildren(...found.reasons.map((each) => make("li", `${each.count} of them: ${each.text}`)));
  const hasPattern = Boolean(found.pattern) || !found.columns.some((each) => each.role === "photograph");
  find("pattern-line").hidden = !table || !hasPattern;
  find("pattern").value = found.pattern;
  find("columns-reset").hidden = !found.is_own;
  find("columns-kept").hidden = !found.is_own;
  find("start").disabled = !found.can_start || readable === 0;
  find("start-about").textContent = readable || message ? "Nothing is trained, nothing of your catalogue is changed."
    : "None of the first rows can be read with these columns.";
  showTable();
}

function showTable() {
  const isUsed = (each) => each.role !== "not used";
  const unused = preview.columns.filter((each) => !isUsed(each)).length;
  // A table in which nothing is known yet shows all.
  const shown = preview.columns.map((each, index) => ({ ...each, index }))
    .filter((each) => showsAll || isUsed(each) || unused === preview.columns.length || preview.message);
  find("columns-more").hidden = unused === 0 || Boolean(preview.message);
  find("columns-more").textContent = showsAll ? "Hide columns that are not used" : `Show ${count(unused, "column")} that ${unused === 1 ? "is" : "are"} not used`;
  find("columns-more").setAttribute("aria-expanded", String(showsAll));
  const hasPictures = preview.rows.some((row) => row.photographs.length);
  const head = make("tr");
  if (hasPictures) {
    const cell = make("th", "Photographs");
    cell.scope = "col";
    head.append(cell);
  }
  head.append(...shown.map(makeHeading));
  if (!preview.columns.length) head.append(makeCategoryHeading());
  find("rows").querySelector("thead").replaceChildren(head);
  find("rows").querySelector("tbody").replaceChildren(...preview.rows.map((row, number) => {
    const line = make("tr", undefined, row.problem ? "wrong" : "");
    if (hasPictures) line.append(makePictures(row, number));
    for (const each of shown) {
      const cell = make("td", undefined, isUsed(each) ? "used" : "");
      const text = make("span", row.cells[each.index]);
      text.title = row.cells[each.index];
      cell.append(text);
      line.append(cell);
    }
    if (!preview.columns.length) line.append(make("td", (row.category || []).join(" › ")));
    return line;
  }));
}

function makeCategoryHeading() {
  const cell = make("th", "Category, by folder");
  cell.scope = "col";
  return cell;
}

function makeHeading(each) {
  const cell = make("th");
  cell.scope = "col";
  const label = make("label");
  label.append(make("span", each.name));
  label.title = each.looks_like;
  const menu = make("select");
  menu.dataset.column = each.name;
  for (const [value, text] of ROLES) {
    const option = make("option", text);
    option.value = value;
    option.selected = value === each.role;
    menu.append(option);
  }
  if (each.role !== "not used") menu.className = "used";
  menu.addEventListener("change", () => attempt(() => changeRole(each.name, menu.value)));
  label.append(menu);
  cell.append(label);
  return cell;
}

function makePictures(row, number) {
  const cell = make("td", undefined, row.photographs.length > 1 ? "pictures several" : "pictures");
  const told = new Set();
  for (const each of row.photographs) {
    if (each.number === null) {
      // Once for all that lack the same.
      const text = each.note || each.problem;
      if (!told.has(text)) cell.append(make("span", text, each.problem ? "bad" : "note"));
      told.add(text);
      continue;
    }
    const image = make("img");
    image.src = `/api/catalogues/${catalogId}/picture?row=${number}&number=${each.number}&v=${preview.version}`;
    image.alt = `Photograph of row ${number + 1}`;
    cell.append(image);
  }
  if (row.problem && !row.photographs.length) cell.append(make("span", row.problem, "bad"));
  return cell;
}

// What another column had becomes free, so that each change is one step.
async function changeRole(column, role) {
  const roles = Object.fromEntries(preview.columns.map((each) => [each.name, each.role]));
  const isAlone = !["not used", "more photographs"].includes(role);
  for (const each of preview.columns) {
    const isPath = role === "category path" && each.role.startsWith("category ");
    const isLevel = /^category \d/.test(role) && each.role === "category path";
    if (isAlone && (each.role === role || isPath || isLevel)) roles[each.name] = "not used";
  }
  roles[column] = role;
  try {
    await sendColumns(roles, role === "photograph" ? null : find("pattern").value || null);
  } finally {
    [...document.querySelectorAll("select[data-column]")].find((each) => each.dataset.column === column)?.focus();
  }
}

async function sendColumns(roles, pattern) {
  try {
    showPreview(await request(`/api/catalogues/${catalogId}/columns`, { method: "POST", body: { roles, pattern } }));
  } catch (error) {
    // The menus show what counts.
    showTable();
    throw error;
  }
}

find("columns-more").addEventListener("click", () => {
  showsAll = !showsAll;
  showTable();
});
find("columns-reset").addEventListener("click", () => attempt(async () => {
  showPreview(await request(`/api/catalogues/${catalogId}/columns`, { method: "DELETE" }));
}));
find("pattern").addEventListener("change", () => attempt(() => {
  const roles = Object.fromEntries(preview.columns.map((each) => [each.name, each.role]));
  return sendColumns(roles, find("pattern").value);
}));
