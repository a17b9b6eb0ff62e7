"use strict";

let issue = null;
let chooser = null;
// The options of each column, once they are loaded.
const options = new Map();
// The number of the photograph that is shown.
let shownNumber = 0;
// The codes of issues about items that have one photograph.
const COMPARED = ["exact_duplicate", "near_duplicate", "duplicate_label_conflict", "same_product"];

// Show an issue

function showProgress(progress) {
  const { total, open, skipped, an_hour: throughput } = progress;
  const bar = find("progress-bar");
  bar.max = Math.max(total, 1);
  bar.value = total - open;
  const parts = [`${open.toLocaleString("en")} of ${total.toLocaleString("en")} open`];
  if (skipped) parts.push(`${skipped.toLocaleString("en")} skipped`);
  if (throughput) {
    const hours = open / throughput;
    const left = hours < 1 ? `${Math.max(1, Math.round(hours * 60))} min` : `${hours.toFixed(1)} h`;
    parts.push(`${Math.round(throughput).toLocaleString("en")} an hour`);
    if (open) parts.push(`about ${left} left`);
  }
  find("progress-text").textContent = parts.join(" · ");
}

function describe(decision) {
  const { from, to } = decision;
  const changes = Object.keys(to).map((column) => `${column}: ${from[column] || "–"} → ${to[column] || "–"}`);
  const time = new Date(decision.time).toLocaleString();
  return `${decision.reviewer} ${PAST[decision.action]}${changes.length ? ` (${changes.join(", ")})` : ""}, ${time}`;
}

function show(found) {
  issue = found;
  find("found").hidden = true;
  find("issue").hidden = !issue;
  find("end").hidden = Boolean(issue);
  if (!issue) {
    showEnd();
    return;
  }
  const { item } = issue;
  showPhotographs(item);
  // The one that the issue is about, if its reason names one.
  showPhotograph(item, Math.max(0, item.photographs.findIndex((path) => issue.reason.includes(` ${path} `))));
  const evidence = issue.evidence && `by ${EVIDENCE[issue.evidence] || issue.evidence}`;
  find("tag-code").textContent = [CODES[issue.code] || issue.code, evidence, issue.column].filter(Boolean).join(" · ");
  const state = issue.state === "open" ? "" : "already changed";
  find("tag-state").textContent = issue.decision ? describe(issue.decision) : state;
  find("name").textContent = item.name || `Item ${item.item_id}`;
  const path = Object.values(item.levels).filter(Boolean).join(" › ");
  find("identity").textContent = [item.item_id, path].filter(Boolean).join(" · ");
  showLabels();
  find("score-bar").firstElementChild.style.width = `${issue.score * 100}%`;
  find("score-text").textContent = `rank ${issue.score.toFixed(2)} of 1`;
  find("reason").textContent = issue.reason;
  find("same").textContent = issue.same.length
    ? `Also decides: ${issue.same.map((code) => CODES[code] || code).join(", ")}.` : "";
  showActions();
  showValues();
  showGroup();
  showLookAlikes(issue);
}

function showPhotograph(item, number) {
  shownNumber = number;
  const image = find("photograph");
  image.src = photograph(item.item_id, false, number);
  image.alt = `Photograph of ${item.name || item.item_id}`;
  for (const [index, line] of [...find("photographs").children].entries()) {
    line.firstElementChild.setAttribute("aria-pressed", String(index === number));
  }
}

function showPhotographs(item) {
  const paths = item.photographs.length > 1 ? item.photographs : [];
  find("photographs").hidden = paths.length === 0;
  find("photographs").replaceChildren(...paths.map((path, number) => {
    const line = make("li");
    const button = make("button", undefined, "plain");
    button.type = "button";
    button.title = path;
    button.setAttribute("aria-label", `Photograph ${number + 1} of ${paths.length}`);
    const image = make("img");
    image.src = photograph(item.item_id, true, number);
    image.alt = "";
    button.append(image);
    button.addEventListener("click", () => showPhotograph(item, number));
    line.append(button);
    return line;
  }));
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
  find("accept").firstElementChild.textContent = changes ? "Accept" : "Confirm";
  find("keep").firstElementChild.textContent = changes ? "Keep" : "No problem";
  const { size, open } = issue.group;
  find("group-actions").hidden = size < 2;
  find("group-text").textContent = `A group of ${size} issues, ${open} of them open. Decide them together:`;
  find("accept-group").firstElementChild.textContent = changes ? "Accept all" : "Confirm all";
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
  // Products of one photograph are compared side by side: as large as the item, with what differs.
  const isCompared = members.length > 0 && COMPARED.includes(issue.code);
  find("issue").classList.toggle("compared", isCompared);
  find("caption").hidden = !isCompared;
  find("caption").textContent = `This one: ${issue.item.label || "–"}`;
  find("group").hidden = members.length === 0;
  find("group-title").textContent = isCompared ? "Its duplicates" : `Group of ${size} issues`;
  find("members").replaceChildren(...members.map((each) => {
    const line = card(each, issue.suggested_label);
    if (isCompared) line.append(...listDifferences(each).map((text) => make("span", text, "differs")));
    const state = each.state === "open" ? (each.suggested_label ? `→ ${each.suggested_label}` : "") : each.state;
    if (state) line.append(make("span", state));
    return line;
  }));
}

// Return the values that another item has in place of this one's, but for the label, which its card shows.
function listDifferences(other) {
  const own = { ...issue.item.levels, ...issue.item.attributes };
  const lines = Object.entries({ ...other.levels, ...other.attributes })
    .filter(([column, value]) => value !== own[column] && value !== other.label)
    .map(([column, value]) => `${column}: ${value || "–"}, here ${own[column] || "–"}`);
  return other.name === issue.item.name ? ["the same name", ...lines] : lines;
}

async function showLookAlikes(target) {
  find("look-alikes").replaceChildren();
  const values = { item_id: target.item.item_id, column: target.column, group_id: target.group.group_id };
  const answer = await request("look-alikes", values).catch(() => ({ items: [] }));
  // Another issue may be shown by now.
  if (target !== issue) return;
  find("near").hidden = answer.items.length === 0;
  find("look-alikes").replaceChildren(...answer.items.map((each) => card(each, target.suggested_label)));
}

function showEnd() {
  const hasRange = find("low").value > 0 || find("high").value < 1;
  const isFiltered = hasRange || ["code", "evidence", "label", "brand", "named"].some((id) => find(id).value);
  const state = find("state").value === "all" ? "" : ` ${find("state").value}`;
  find("end-title").textContent = `No${state} issues${isFiltered ? " match these filters" : ""}.`;
  find("end-text").textContent = `Every decision is saved. ${readMeta("next-step")}`;
}

// Find products by words

async function search() {
  const words = find("words").value.trim();
  if (!words) {
    closeFound();
    return;
  }
  await attempt(async () => {
    const { items, message } = await request("search", { words });
    showNotice("");
    find("issue").hidden = true;
    find("end").hidden = true;
    find("found").hidden = false;
    find("found-title").textContent = items.length ? `Photographs of “${words}”` : "Nothing found";
    const open = items.filter((item) => item.position !== null).length;
    const count = items.length ? `The best ${countOf(items.length, "product")}; ${open || "none"} of them with a question.` : "";
    find("found-text").textContent = [message, count].filter(Boolean).join(" ");
    find("found-items").replaceChildren(...items.map(foundCard));
    find("words").blur();
    window.scrollTo(0, 0);
  });
}

function foundCard(item) {
  const line = card(item);
  if (!item.named) line.append(make("span", "not in its name"));
  if (item.position === null) return line;
  const button = make("button", "To its question", "plain");
  button.type = "button";
  button.setAttribute("aria-label", `To the question about ${item.name || item.item_id}`);
  button.addEventListener("click", () => attempt(() => reload(item.position)));
  line.append(button);
  return line;
}

function closeFound() {
  if (!find("found").hidden) show(issue);
}

// Go to another issue

async function next(after, backwards) {
  const values = { reviewer, ...readFilters() };
  if (after !== undefined) values.after = after;
  if (backwards) values.backwards = "true";
  const answer = await request("next", values);
  showProgress(answer.progress);
  show(answer.issue);
}

async function reload(position) {
  const answer = await request(`issues/${position}`);
  show(answer.issue);
}

// Decide and undo

function decide(action, wholeGroup, values) {
  attempt(async () => {
    if (!issue || (wholeGroup && issue.group.size < 2)) return;
    const { item, position, versions, suggested_label: suggested } = issue;
    const body = { position, action, versions, whole_group: Boolean(wholeGroup), reviewer };
    if (values) body.values = values;
    let made;
    try {
      ({ made } = await request("decisions", {}, body));
    } catch (error) {
      if (error.status !== 409) throw error;
      await showConflict(error, position);
      return;
    }
    showNotice("");
    await next(position);
    const label = values ? Object.values(values).at(-1) : action === "accept" ? suggested : "";
    const done = `${PAST[action]}${label ? ` ${label}` : ""}${made.length > 1 ? ` · ${made.length} issues` : ""}`;
    find("done").textContent = `${item.name || item.item_id}: ${done}. Press U to undo.`;
  });
}

async function showConflict(error, position) {
  await reload(position);
  // Issues that suggest the same change have a decision each; show it once.
  const lines = new Set(error.decisions.map((each) => `Item ${each.item_id}: ${describe(each)}`));
  showNotice(`Not saved. ${error.message}\n${[...lines].join("\n")}`);
}

function undo() {
  attempt(async () => {
    try {
      const { made, positions } = await request("undo", {}, { reviewer });
      showNotice("");
      const answer = await request("next", { reviewer, ...readFilters() });
      showProgress(answer.progress);
      if (positions.length) await reload(positions[0]);
      find("done").textContent = `Undone${made.length > 1 ? `: ${made.length} issues` : ""}.`;
    } catch (error) {
      if (error.status === 409 && issue) await showConflict(error, issue.position);
      else throw error;
    }
  });
}

// Choose another class

async function openChooser(wholeGroup) {
  if (!issue || busy || (wholeGroup && issue.group.size < 2)) return;
  const column = issue.column;
  await attempt(async () => {
    if (!options.has(column)) options.set(column, (await request("choices", { column })).choices);
  });
  if (!options.has(column)) return;
  chooser = { wholeGroup, all: options.get(column), shown: [], selected: 0 };
  find("chooser-title").textContent = wholeGroup ? `Choose for all ${issue.group.size} issues` : "Choose another";
  find("search").value = "";
  listOptions();
  find("chooser").showModal();
  find("search").focus();
}

function listOptions() {
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (option) => Object.values(option.values).join(" › ");
  const matches = chooser.all.filter((option) => words.every((word) => text(option).toLowerCase().includes(word)));
  // A class whose own name begins so comes before those that have the words elsewhere in their path.
  const startsSo = (option) => words.length > 0 && Object.values(option.values).at(-1).toLowerCase().startsWith(words[0]);
  chooser.shown = [...matches.filter(startsSo), ...matches.filter((option) => !startsSo(option))].slice(0, 200);
  chooser.selected = 0;
  find("choices").replaceChildren(...chooser.shown.map((option, index) => {
    const line = make("li");
    line.id = `choice-${index}`;
    line.setAttribute("role", "option");
    line.append(make("span", text(option)), make("span", option.count.toLocaleString("en")));
    line.addEventListener("click", () => chooseOption(index));
    return line;
  }));
  find("choices-note").textContent = chooser.shown.length ? "" : "The catalogue has no such class.";
  markSelected();
}

function markSelected() {
  for (const [index, line] of [...find("choices").children].entries()) {
    line.setAttribute("aria-selected", String(index === chooser.selected));
    if (index === chooser.selected) line.scrollIntoView({ block: "nearest" });
  }
  find("search").setAttribute("aria-activedescendant", chooser.shown.length ? `choice-${chooser.selected}` : "");
}

function chooseOption(index) {
  const option = chooser.shown[index];
  if (!option) return;
  find("chooser").close();
  decide("choose", chooser.wholeGroup, option.values);
}

find("search").addEventListener("input", listOptions);
find("search").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
  if (step) {
    event.preventDefault();
    chooser.selected = Math.min(chooser.shown.length - 1, Math.max(0, chooser.selected + step));
    markSelected();
  } else if (event.key === "Enter") {
    event.preventDefault();
    chooseOption(chooser.selected);
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
  z: () => issue && zoom(issue.item, shownNumber),
  g: () => find("other-page").click(),
  f: () => find("state").focus(),
  "/": () => {
    find("words").focus();
    find("words").select();
  },
  "?": () => find("help").showModal(),
  ArrowRight: () => attempt(() => next(issue ? issue.position : undefined)),
  ArrowLeft: () => attempt(() => next(issue ? issue.position : undefined, true)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing) return;
  // While products are shown, no key decides about the issue behind them.
  if (!find("found").hidden && !["/", "?", "f"].includes(event.key)) {
    if (event.key === "Escape") closeFound();
    return;
  }
  // Only Shift decides a whole group, not caps lock.
  const isLetter = event.key.length === 1 && /[a-z]/i.test(event.key);
  const letter = event.shiftKey ? event.key.toUpperCase() : event.key.toLowerCase();
  const action = ACTIONS[isLetter ? letter : event.key];
  if (!action || event.repeat) return;
  event.preventDefault();
  action();
});

const BUTTONS = {
  accept: "a", keep: "k", choose: "c", skip: "s", undo: "u", "undo-end": "u",
  "accept-group": "A", "keep-group": "K", "choose-group": "C",
};
for (const [id, key] of Object.entries(BUTTONS)) find(id).addEventListener("click", () => ACTIONS[key]());
find("enlarge").addEventListener("click", () => ACTIONS.z());
find("chooser-close").addEventListener("click", () => find("chooser").close());
find("found-close").addEventListener("click", closeFound);
find("words").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  search();
});
whenFiltered(() => attempt(() => next()));

async function begin() {
  try {
    await beginFilters();
  } catch (error) {
    showNotice(error.message);
    return;
  }
  identify();
}

whenNamed(() => attempt(() => next()));
begin();
