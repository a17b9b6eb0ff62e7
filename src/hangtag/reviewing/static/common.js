"use strict";

// What the review's pages share: requests, names of codes, photographs, notices, and the reviewer's name.

const find = (id) => document.getElementById(id);
const readMeta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const token = readMeta("review-token");
// The key of the reviewer's name in the browser's local storage.
const STORED = "hangtag-reviewer";
// Display names of issue codes.
const CODES = {
  label_error: "label error",
  exact_duplicate: "same pixels",
  near_duplicate: "same photograph",
  duplicate_label_conflict: "duplicates disagree",
  same_product: "same product",
  unlikely_combination: "unlikely combination",
  spelling_variant: "spelling variant",
  bad_picture: "photograph to look at",
};
// Display names of the evidence of label errors.
const EVIDENCE = { image: "photograph", name: "name", "image+name": "photograph and name" };
const PAST = { accept: "accepted", keep: "kept the value", choose: "chose", skip: "skipped", undo: "undid" };
let reviewer = readMeta("reviewer") || "";
let busy = false;
let onNamed = () => {};

function countOf(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

async function request(path, values, body) {
  const query = new URLSearchParams(values || {});
  const init = { headers: { "X-Review-Token": token } };
  if (body) {
    init.method = "POST";
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(`api/${path}?${query}`, init);
  } catch {
    throw { message: "The review does not respond. Is it still running? Your decisions are saved." };
  }
  const answer = await response.json().catch(() => ({ error: { message: "The review failed." } }));
  if (!response.ok) throw { status: response.status, ...answer.error, decisions: answer.decisions };
  return answer;
}

function photograph(itemId, small, number) {
  const more = { ...(small ? { small: "true" } : {}), ...(number ? { number } : {}) };
  const query = new URLSearchParams({ item_id: itemId, token, ...more });
  return `api/photograph?${query}`;
}

function showNotice(text) {
  find("notice").textContent = text || "";
  find("notice").hidden = !text;
}

// Run one action at a time: a key that is pressed before the next issue is shown is not meant for it.
async function attempt(work) {
  if (busy || !reviewer) return;
  busy = true;
  try {
    await work();
  } catch (error) {
    if (!error.message || error instanceof Error) throw error;
    showNotice(error.message);
  } finally {
    busy = false;
  }
}

// Filters: the menus and fields of the form, which are also in the address

// The parameter of each filter is the id of its control, where the page has it, and so is its name in the address.
const FILTERS = ["state", "code", "evidence", "label", "brand", "named", "low", "high", "order"];
const MENUS = { code: "codes", evidence: "evidence", label: "labels", brand: "brands" };
// What the controls show where the address has nothing about them.
const UNSET = { state: "open", low: "0", high: "1", order: "score" };

// Filters of the address that only the other page has.
let kept = {};

// Return the filters that are set, by their names.
function readFilters() {
  const values = {};
  for (const id of FILTERS.filter(find)) {
    let value = find(id).value.trim();
    if (id === "low" || id === "high") value = String(Math.min(1, Math.max(0, Number(value || UNSET[id]) || 0)));
    if (value && value !== UNSET[id]) values[id] = value;
  }
  return values;
}

// What is asked for can be sent to somebody else, and is the same on the other page.
function writeAddress(more) {
  const token = new URLSearchParams(location.search).get("token");
  const query = new URLSearchParams({ ...(token ? { token } : {}), ...kept, ...readFilters() });
  find("other-page").search = query;
  for (const [id, value] of Object.entries(more || {})) query.set(id, value);
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
}

// Set the controls to what the address asks for.
function readAddress() {
  const address = new URLSearchParams(location.search);
  for (const id of FILTERS) {
    const value = address.get(id);
    if (value === null) continue;
    if (!find(id)) {
      kept[id] = value;
      continue;
    }
    const known = [...(find(id).options || [])].some((option) => option.value === value);
    if (find(id).options && !known && !MENUS[id]) continue;
    if (MENUS[id] && !known) addOption(id, value, 0);
    find(id).value = value;
  }
}

function addOption(id, value, count) {
  const names = { code: CODES, evidence: EVIDENCE }[id] || {};
  const option = make("option", `${names[value] || value} (${count.toLocaleString("en")})`);
  option.value = value;
  find(id).append(option);
}

// Fill the menus with what the other filters leave.
async function listFilters() {
  const found = await request("filters", readFilters());
  for (const [id, name] of Object.entries(MENUS)) {
    const menu = find(id);
    const chosen = menu.value;
    menu.replaceChildren(menu.options[0]);
    for (const { value, count } of found[name]) addOption(id, value, count);
    if (chosen && !found[name].some((each) => each.value === chosen)) addOption(id, chosen, 0);
    menu.value = chosen;
  }
  // A catalogue without brands, and a queue without evidence, need no menu of them.
  for (const id of ["brand", "evidence"]) find(id).parentElement.hidden = find(id).options.length < 2;
  const isFiltered = Object.keys(readFilters()).some((id) => id !== "order");
  find("clear").hidden = !isFiltered;
  find("clear-end").hidden = !isFiltered;
}

// Do `work` after each change of a filter, and once all are cleared.
function whenFiltered(work) {
  const change = () => {
    writeAddress();
    listFilters().catch((error) => showNotice(error.message));
    work();
  };
  const clear = () => {
    kept = {};
    for (const id of FILTERS.filter(find)) if (id !== "order") find(id).value = UNSET[id] || "";
    change();
  };
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("change", (event) => FILTERS.includes(event.target.id) && change());
  // Enter has changed the field already; the keys belong to the page again.
  find("named").addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.target.blur();
  });
  find("clear").addEventListener("click", clear);
  find("clear-end").addEventListener("click", clear);
}

async function beginFilters() {
  readAddress();
  await listFilters();
  writeAddress();
}

// The reviewer's name

function setReviewer(name) {
  reviewer = name;
  find("rename").textContent = name;
}

function askName() {
  find("reviewer-name").value = reviewer;
  find("naming").showModal();
}

find("rename").addEventListener("click", askName);
find("naming").addEventListener("cancel", (event) => {
  if (!reviewer) event.preventDefault();
});
find("naming-form").addEventListener("submit", (event) => {
  const name = find("reviewer-name").value.trim();
  if (!name) {
    event.preventDefault();
    return;
  }
  try {
    localStorage.setItem(STORED, name);
  } catch {
    // Without local storage, the page asks again the next time.
  }
  setReviewer(name);
  onNamed();
});

// Call `work` once the reviewer has a name, and again when it changes.
function whenNamed(work) {
  onNamed = work;
}

// Take the reviewer's name from the command line or from the browser, or ask for it.
function identify() {
  let stored = "";
  try {
    stored = localStorage.getItem(STORED) || "";
  } catch {
    // See above.
  }
  setReviewer(reviewer || stored);
  if (reviewer) onNamed();
  else askName();
}

// Show a photograph as large as the window allows.
let zoomed = null;

function zoom(item, number) {
  const image = make("img");
  const count = item.photographs.length;
  zoomed = { item, number: (number + count) % count };
  image.src = photograph(item.item_id, false, zoomed.number);
  image.alt = `Photograph of ${item.name || item.item_id}`;
  find("zoomed").replaceChildren(image);
  find("zoomed-text").textContent = count > 1 ? `Photograph ${zoomed.number + 1} of ${count}; ← and → show the others.` : "";
  if (!find("zoom").open) find("zoom").showModal();
}

find("zoom").addEventListener("click", () => find("zoom").close());
find("zoom").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && zoomed.item.photographs.length > 1) zoom(zoomed.item, zoomed.number + step);
});
// Where the page needs the token in its address, so does the other one.
find("other-page").search = location.search;
