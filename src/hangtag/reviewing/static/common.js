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
  bad_picture: "bad picture",
};
// Display names of the evidence of label errors.
const EVIDENCE = { image: "photograph", name: "name", "image+name": "photograph and name" };
const PAST = { accept: "accepted", keep: "kept the value", choose: "chose", skip: "skipped", undo: "undid" };
let reviewer = readMeta("reviewer") || "";
let busy = false;
let onNamed = () => {};

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

// Fill the menus of the filters with what the queue has.
function listFilters(found) {
  for (const [id, name] of [["code", "codes"], ["evidence", "evidence"], ["label", "labels"]]) {
    const names = { code: CODES, evidence: EVIDENCE }[id] || {};
    for (const { value, count } of found[name]) {
      const option = make("option", `${names[value] || value} (${count.toLocaleString("en")})`);
      option.value = value;
      find(id).append(option);
    }
    // A page that leads here may ask for one of them.
    const wanted = new URLSearchParams(location.search).get(id);
    if ([...find(id).options].some((option) => option.value === wanted)) find(id).value = wanted;
  }
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
function zoom(item, number) {
  const image = make("img");
  image.src = photograph(item.item_id, false, number);
  image.alt = `Photograph of ${item.name || item.item_id}`;
  find("zoomed").replaceChildren(image);
  find("zoom").showModal();
}

find("zoom").addEventListener("click", () => find("zoom").close());
// Where the page needs the token in its address, so does the other one.
find("other-page").search = location.search;
