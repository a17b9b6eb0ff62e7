"use strict";

const find = (id) => document.getElementById(id);
const told = (name) => document.querySelector(`meta[name="${name}"]`).content;
const token = told("review-token");
const STORED = "hangtag-reviewer";
// What a kind of issue is called.
const CODES = {
  wrong_label: "wrong label",
  name_against_label: "name against label",
  photograph_and_name_against_label: "photograph and name against label",
  exact_duplicate: "same pixels",
  near_duplicate: "same photograph",
  duplicate_label_conflict: "duplicates disagree",
  same_product: "same product",
  unlikely_combination: "unlikely combination",
  spelling_variant: "spelling variant",
  bad_picture: "bad picture",
};
const PAST = { accept: "accepted", keep: "kept what was there", choose: "chose", skip: "skipped", undo: "took back" };
let reviewer = told("reviewer") || "";
let issue = null;
let busy = false;
let choosing = null;
const choices = new Map();

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

async function ask(path, values, body) {
  const query = new URLSearchParams(values || {});
  const options = { headers: { "X-Review-Token": token } };
  if (body) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(`api/${path}?${query}`, options);
  } catch {
    throw { message: "The review does not answer. Is it still running? Your decisions are kept." };
  }
  const answer = await response.json().catch(() => ({ error: { message: "The review failed." } }));
  if (!response.ok) throw { status: response.status, ...answer.error, decisions: answer.decisions };
  return answer;
}

function photograph(itemId, small) {
  const query = new URLSearchParams({ item_id: itemId, token, ...(small ? { small: "true" } : {}) });
  return `api/photograph?${query}`;
}

function percent(value) {
  return value >= 0.995 && value < 1 ? ">99%" : `${Math.round(value * 100)}%`;
}

// What is shown

function notice(text) {
  find("notice").textContent = text || "";
  find("notice").hidden = !text;
}

function tellProgress(progress) {
  const { total, open, skipped, an_hour: pace } = progress;
  const bar = find("progress-bar");
  bar.max = Math.max(total, 1);
  bar.value = total - open;
  const parts = [`${open.toLocaleString("en")} of ${total.toLocaleString("en")} open`];
  if (skipped) parts.push(`${skipped.toLocaleString("en")} skipped`);
  if (pace) {
    const hours = open / pace;
    const left = hours < 1 ? `${Math.max(1, Math.round(hours * 60))} min` : `${hours.toFixed(1)} h`;
    parts.push(`${Math.round(pace).toLocaleString("en")} an hour`);
    if (open) parts.push(`about ${left} left`);
  }
  find("progress-text").textContent = parts.join(" · ");
}

function describe(decision) {
  const changes = Object.keys(decision.to).map((column) => `${column}: ${decision.from[column] || "–"} → ${decision.to[column] || "–"}`);
  const time = new Date(decision.time).toLocaleString();
  return `${decision.reviewer} ${PAST[decision.action]}${changes.length ? ` (${changes.join(", ")})` : ""}, ${time}`;
}

function show(found) {
  issue = found;
  find("issue").hidden = !issue;
  find("end").hidden = Boolean(issue);
  if (!issue) {
    showEnd();
    return;
  }
  const { item } = issue;
  const image = find("photograph");
  image.src = photograph(item.item_id);
  image.alt = `Photograph of ${item.name || item.item_id}`;
  find("tag-code").textContent = `${CODES[issue.code] || issue.code}${issue.column ? ` · ${issue.column}` : ""}`;
  find("tag-state").textContent = issue.decision ? describe(issue.decision) : issue.state === "open" ? "" : "already so";
  find("name").textContent = item.name || `Item ${item.item_id}`;
  find("identity").textContent = [item.item_id, Object.values(item.levels).filter(Boolean).join(" › ")].filter(Boolean).join(" · ");
  showLabels();
  find("score-bar").firstElementChild.style.width = `${issue.score * 100}%`;
  find("score-text").textContent = `${percent(issue.score)} sure`;
  find("reason").textContent = issue.reason;
  find("same").textContent = issue.same.length
    ? `Settles also: ${issue.same.map((code) => CODES[code] || code).join(", ")}.` : "";
  showActions();
  showValues();
  showGroup();
  showNear(issue);
}

function showLabels() {
  const { item } = issue;
  const given = find("given");
  given.textContent = issue.given_label || item.label || "–";
  if (issue.column && item.label !== issue.given_label) given.append(make("small", `now ${item.label || "–"}`));
  find("suggestion").hidden = !issue.suggested_label;
  find("suggested").textContent = issue.suggested_label;
  const all = { ...item.levels, ...item.attributes };
  const lines = Object.entries(issue.changes).filter(([column, value]) => all[column] !== value);
  find("changes").replaceChildren(...(lines.length > 1 ? lines : []).map(([column, value]) => {
    const line = make("li", `${column}: `);
    line.append(make("s", all[column] || "–"), " → ", make("b", value || "–"));
    return line;
  }));
}

function showActions() {
  const changes = Object.keys(issue.changes).length > 0;
  find("accept").firstElementChild.textContent = changes ? "Accept" : "It is so";
  find("keep").firstElementChild.textContent = changes ? "Keep" : "No problem";
  const { size, open } = issue.group;
  find("group-actions").hidden = size < 2;
  find("group-text").textContent = `${size} issues belong together, ${open} of them open. Decide them at once:`;
  find("accept-group").firstElementChild.textContent = changes ? "Accept all" : "All are so";
}

function showValues() {
  const { item } = issue;
  find("values").replaceChildren(...Object.entries({ ...item.levels, ...item.attributes }).map(([column, value]) => {
    const line = make("div");
    line.append(make("dt", `${column}: `), make("dd", value || "–"));
    return line;
  }));
  find("history").replaceChildren(...issue.history.map((each) => make("li", describe(each))));
}

function card(item, wanted) {
  const line = make("li");
  const image = make("img");
  image.src = photograph(item.item_id, true);
  image.alt = item.name || item.item_id;
  image.loading = "lazy";
  const label = make("b", item.label || "–", wanted && item.label === wanted ? "agrees" : "");
  label.title = Object.values(item.levels).join(" › ");
  const name = make("span", item.name || item.item_id);
  name.title = `${item.item_id} ${item.name}`;
  line.append(image, label, name);
  return line;
}

function showGroup() {
  const { members, size } = issue.group;
  find("group").hidden = members.length === 0;
  find("group-title").textContent = `The group: ${size} issues`;
  find("members").replaceChildren(...members.map((each) => {
    const line = card(each, issue.suggested_label);
    const state = each.state === "open" ? (each.suggested_label ? `→ ${each.suggested_label}` : "") : each.state;
    if (state) line.append(make("span", state));
    return line;
  }));
}

async function showNear(of) {
  find("look-alikes").replaceChildren();
  const values = { item_id: of.item.item_id, column: of.column, group_id: of.group.group_id };
  const answer = await ask("look-alikes", values).catch(() => ({ items: [] }));
  if (of !== issue) return;
  find("near").hidden = answer.items.length === 0;
  find("look-alikes").replaceChildren(...answer.items.map((each) => card(each, of.suggested_label)));
}

function showEnd() {
  const isFiltered = ["code", "label"].some((id) => find(id).value) || find("low").value > 0 || find("high").value < 100;
  find("end-title").textContent = `Nothing is ${find("state").value === "all" ? "here" : find("state").value}${isFiltered ? " under these filters" : ""}.`;
  find("end-text").textContent = "Every decision is saved. `hangtag apply` writes the corrected catalogue.";
}

// What comes next

function filters() {
  const values = { reviewer };
  for (const id of ["state", "code", "label", "order"]) values[id] = find(id).value;
  for (const id of ["low", "high"]) values[id] = Math.min(100, Math.max(0, Number(find(id).value) || 0)) / 100;
  return values;
}

async function next(after, backwards) {
  const values = { ...filters(), ...(after === undefined ? {} : { after }), ...(backwards ? { backwards: "true" } : {}) };
  const answer = await ask("next", values);
  tellProgress(answer.progress);
  show(answer.issue);
}

async function reload(position) {
  const answer = await ask(`issues/${position}`);
  show(answer.issue);
}

// One thing at a time: keys that are pressed before the next issue is there are not for it.
async function attempt(work) {
  if (busy || !reviewer) return;
  busy = true;
  try {
    await work();
  } catch (error) {
    if (!error.message || error instanceof Error) throw error;
    notice(error.message);
  } finally {
    busy = false;
  }
}

// Deciding

function decide(action, wholeGroup, values) {
  attempt(async () => {
    if (!issue || (wholeGroup && issue.group.size < 2)) return;
    const decided = issue;
    const body = { position: decided.position, action, versions: decided.versions, whole_group: Boolean(wholeGroup), reviewer };
    if (values) body.values = values;
    let made;
    try {
      ({ made } = await ask("decisions", {}, body));
    } catch (error) {
      if (error.status !== 409) throw error;
      await tellConflict(error, decided.position);
      return;
    }
    notice("");
    await next(decided.position);
    const label = values ? Object.values(values).at(-1) : action === "accept" ? decided.suggested_label : "";
    const many = made.length > 1 ? ` · ${made.length} issues` : "";
    find("done").textContent = `${decided.item.name || decided.item.item_id}: ${PAST[action]}${label ? ` ${label}` : ""}${many}. U takes it back.`;
  });
}

async function tellConflict(error, position) {
  await reload(position);
  // The same question under several codes is decided in several lines.
  const lines = new Set(error.decisions.map((each) => `Item ${each.item_id}: ${describe(each)}`));
  notice(`Not saved. ${error.message}\n${[...lines].join("\n")}`);
}

function undo() {
  attempt(async () => {
    try {
      const { made, positions } = await ask("undo", {}, { reviewer });
      notice("");
      const answer = await ask("next", filters());
      tellProgress(answer.progress);
      if (positions.length) await reload(positions[0]);
      find("done").textContent = `Taken back${made.length > 1 ? `: ${made.length} issues` : ""}.`;
    } catch (error) {
      if (error.status === 409 && issue) await tellConflict(error, issue.position);
      else throw error;
    }
  });
}

// Choosing another class

async function openChooser(wholeGroup) {
  if (!issue || busy || (wholeGroup && issue.group.size < 2)) return;
  const column = issue.column;
  await attempt(async () => {
    if (!choices.has(column)) choices.set(column, (await ask("choices", { column })).choices);
  });
  if (!choices.has(column)) return;
  choosing = { wholeGroup, all: choices.get(column), shown: [], at: 0 };
  find("chooser-title").textContent = wholeGroup ? `Choose for all ${issue.group.size} issues` : "Choose another";
  find("search").value = "";
  listChoices();
  find("chooser").showModal();
  find("search").focus();
}

function listChoices() {
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (choice) => Object.values(choice.values).join(" › ");
  const matches = choosing.all.filter((choice) => words.every((word) => text(choice).toLowerCase().includes(word)));
  // A class that is called so comes before those that only have it in their path.
  const starts = (choice) => words.length > 0 && Object.values(choice.values).at(-1).toLowerCase().startsWith(words[0]);
  choosing.shown = [...matches.filter(starts), ...matches.filter((choice) => !starts(choice))].slice(0, 200);
  choosing.at = 0;
  find("choices").replaceChildren(...choosing.shown.map((choice, index) => {
    const line = make("li");
    line.id = `choice-${index}`;
    line.setAttribute("role", "option");
    line.append(make("span", text(choice)), make("span", choice.count.toLocaleString("en")));
    line.addEventListener("click", () => pick(index));
    return line;
  }));
  find("choices-note").textContent = choosing.shown.length ? "" : "The catalogue has no such class.";
  mark();
}

function mark() {
  for (const [index, line] of [...find("choices").children].entries()) {
    line.setAttribute("aria-selected", String(index === choosing.at));
    if (index === choosing.at) line.scrollIntoView({ block: "nearest" });
  }
  find("search").setAttribute("aria-activedescendant", choosing.shown.length ? `choice-${choosing.at}` : "");
}

function pick(index) {
  const choice = choosing.shown[index];
  if (!choice) return;
  find("chooser").close();
  decide("choose", choosing.wholeGroup, choice.values);
}

find("search").addEventListener("input", listChoices);
find("search").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
  if (step) {
    event.preventDefault();
    choosing.at = Math.min(choosing.shown.length - 1, Math.max(0, choosing.at + step));
    mark();
  } else if (event.key === "Enter") {
    event.preventDefault();
    pick(choosing.at);
  }
});

// Keys and buttons

const ACTIONS = {
  a: () => decide("accept"),
  k: () => decide("keep"),
  c: () => openChooser(false),
  s: () => decide("skip"),
  u: undo,
  A: () => decide("accept", true),
  K: () => decide("keep", true),
  C: () => openChooser(true),
  f: () => find("state").focus(),
  "?": () => find("help").showModal(),
  ArrowRight: () => attempt(() => next(issue ? issue.position : undefined)),
  ArrowLeft: () => attempt(() => next(issue ? issue.position : undefined, true)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing) return;
  // Caps lock is no shift: what decides a whole group is the key itself.
  const key = event.key.length === 1 && /[a-z]/i.test(event.key) ? (event.shiftKey ? event.key.toUpperCase() : event.key.toLowerCase()) : event.key;
  const action = ACTIONS[key];
  if (!action || event.repeat) return;
  event.preventDefault();
  action();
});

const BUTTONS = {
  accept: "a", keep: "k", choose: "c", skip: "s", undo: "u", "undo-end": "u",
  "accept-group": "A", "keep-group": "K", "choose-group": "C",
};
for (const [id, key] of Object.entries(BUTTONS)) find(id).addEventListener("click", () => ACTIONS[key]());
find("chooser-close").addEventListener("click", () => find("chooser").close());
find("filters").addEventListener("submit", (event) => event.preventDefault());
find("filters").addEventListener("change", () => attempt(() => next()));

// Who reviews

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
    // A browser that keeps nothing asks again the next time.
  }
  setReviewer(name);
  attempt(() => next());
});

async function begin() {
  const found = await ask("filters").catch((error) => notice(error.message));
  if (!found) return;
  for (const [id, name] of [["code", "codes"], ["label", "labels"]]) {
    for (const { value, count } of found[name]) {
      const option = make("option", `${(id === "code" && CODES[value]) || value} (${count.toLocaleString("en")})`);
      option.value = value;
      find(id).append(option);
    }
  }
  let stored = "";
  try {
    stored = localStorage.getItem(STORED) || "";
  } catch {
    // See above.
  }
  setReviewer(reviewer || stored);
  if (reviewer) attempt(() => next());
  else askName();
}

begin();
