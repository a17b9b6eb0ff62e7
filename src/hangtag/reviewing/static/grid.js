"use strict";

// The kind of issues that is shown, its issues, and the positions of those that were taken out.
let kind = null;
let issues = [];
let out = new Set();
// The kinds that were passed over by "Next suggestion": they come after all others.
const passed = new Set();

// Show the issues of a kind

function name(each) {
  return each.item.name || each.item.item_id;
}

// The parts of the key are empty if the issues have nothing in common: each has a suggestion of its own.
function isMixed(each) {
  return !each.key.some(Boolean);
}

function title(each) {
  return isMixed(each) ? "Single suggestions" : `${each.given_label || "–"} → ${each.suggested_label || "–"}`;
}

function requestKinds(wanted) {
  return request("kinds", [...Object.entries(readFilters()), ...(wanted || []).map((part) => ["kind", part])]);
}

async function load(wanted) {
  let answer = await requestKinds(wanted);
  const isPassed = (each) => passed.has(JSON.stringify(each.key));
  if (!wanted && answer.kinds.length && isPassed(answer.kinds[answer.shown])) {
    const next = answer.kinds.find((each) => !isPassed(each));
    if (next) answer = await requestKinds(next.key);
    else passed.clear();
  }
  kind = answer.kinds[answer.shown] || null;
  issues = answer.issues;
  out = new Set();
  find("progress-text").textContent = `${countOf(answer.open, "open suggestion")} in ${countOf(answer.kinds.length, "kind")}`;
  find("grid").hidden = !kind;
  find("end").hidden = Boolean(kind);
  find("kind").replaceChildren(...answer.kinds.map((each, number) => {
    const option = make("option", `${title(each)} (${each.open})`);
    option.value = JSON.stringify(each.key);
    option.selected = number === answer.shown;
    return option;
  }));
  writeAddress(kind && { kind: JSON.stringify(kind.key) });
  if (kind) show();
}

function show() {
  find("title").textContent = title(kind);
  const decided = kind.right + kind.wrong;
  const products = countOf(kind.open, "product");
  const shown = issues.length < kind.open ? `the first ${issues.length} of ${products}` : products;
  find("about").textContent = [
    isMixed(kind) ? "Each product has a suggestion of its own" : [CODES[kind.code] || kind.code, kind.column].filter(Boolean).join(" in "),
    shown,
    decided ? `${kind.right} of ${decided} such suggestions accepted so far` : "",
  ].filter(Boolean).join(" · ");
  find("cards").replaceChildren(...issues.map((each) => {
    const line = make("li");
    const button = make("button", undefined, "card");
    button.type = "button";
    button.dataset.position = each.position;
    const image = make("img");
    image.src = photograph(each.item.item_id, false);
    image.alt = "";
    image.loading = "lazy";
    const evidence = EVIDENCE[each.evidence] || each.evidence;
    const count = each.item.photographs.length;
    const notes = [evidence && `by ${evidence}`, `rank ${each.score.toFixed(2)}`, count > 1 && `${count} photographs`];
    button.append(image, make("b", name(each)), make("span", notes.filter(Boolean).join(" · "), "note"));
    button.append(make("span", each.reason, "reason"), make("span", "", "mark"));
    button.addEventListener("click", () => toggle(each.position));
    line.append(button);
    return line;
  }));
  mark();
  find("cards").querySelector("button")?.focus({ preventScroll: true });
}

function mark() {
  for (const button of find("cards").querySelectorAll("button")) {
    const isOut = out.has(Number(button.dataset.position));
    button.setAttribute("aria-pressed", String(!isOut));
    const each = issues.find((issue) => issue.position === Number(button.dataset.position));
    const change = `${isMixed(kind) ? `${each.given_label || "–"} ` : ""}→ ${each.suggested_label || "–"}`;
    button.querySelector(".mark").textContent = isOut ? "taken out" : change;
  }
  const inside = issues.length - out.size;
  find("accept").firstElementChild.textContent = out.size ? `Accept ${inside}, leave ${out.size} open` : `Accept ${inside === 1 ? "it" : `all ${inside}`}`;
  find("both").firstElementChild.textContent = `Accept ${inside}, keep ${out.size}`;
  find("accept").disabled = inside === 0;
  find("both").disabled = out.size === 0;
}

function toggle(position) {
  if (!out.delete(position)) out.add(position);
  mark();
}

function getFocused() {
  const position = Number(document.activeElement?.dataset.position);
  return issues.find((each) => each.position === position);
}

function move(step) {
  const buttons = [...find("cards").querySelectorAll("button")];
  const index = buttons.indexOf(document.activeElement);
  // The cards of one row have the same top.
  const columns = buttons.filter((each) => each.offsetTop === buttons[0].offsetTop).length;
  const wanted = index < 0 ? 0 : index + { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[step];
  buttons[wanted]?.focus();
}

// Decide and undo

function decide(keepOthers) {
  attempt(async () => {
    const chosen = issues.filter((each) => keepOthers || !out.has(each.position));
    if (!chosen.length || (keepOthers && !out.size)) return;
    const actions = Object.fromEntries(chosen.map((each) => [each.position, out.has(each.position) ? "keep" : "accept"]));
    const versions = Object.fromEntries(chosen.map((each) => [each.item.item_id, each.version]));
    const key = kind.key;
    const text = title(kind);
    const kept = keepOthers ? out.size : 0;
    try {
      await request("grid", {}, { actions, versions, reviewer });
    } catch (error) {
      if (error.status !== 409) throw error;
      await load(key);
      showNotice(`Not saved. Another reviewer has decided about some of these products. They are shown as they are now.`);
      return;
    }
    showNotice("");
    await load();
    const accepted = chosen.length - kept;
    find("done").textContent = `${text}: ${[accepted && `${accepted} accepted`, kept && `${kept} kept`].filter(Boolean).join(", ")}. Press U to undo.`;
  });
}

function keepAll() {
  out = new Set(issues.map((each) => each.position));
  mark();
  decide(true);
}

function undo() {
  attempt(async () => {
    const { made, kind: undone } = await request("undo", {}, { reviewer });
    showNotice("");
    await load(undone);
    find("done").textContent = `Undone${made.length > 1 ? `: ${made.length} decisions` : ""}.`;
  });
}

function showNextKind() {
  attempt(async () => {
    const options = [...find("kind").options];
    const next = options[(find("kind").selectedIndex + 1) % options.length];
    if (kind) passed.add(JSON.stringify(kind.key));
    if (next) await load(JSON.parse(next.value));
  });
}

// Keys and buttons

const ACTIONS = {
  k: keepAll,
  n: showNextKind,
  u: undo,
  z: () => {
    const each = getFocused() || issues[0];
    if (each) zoom(each.item, 0);
  },
  g: () => find("other-page").click(),
  f: () => find("code").focus(),
  "/": () => {
    find("named").focus();
    find("named").select();
  },
  "?": () => find("help").showModal(),
  Enter: (event) => decide(event.shiftKey),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing) return;
  // On the buttons below the cards, Enter presses the button.
  if (event.key === "Enter" && event.target.matches("button:not(.card), a")) return;
  if (event.key.startsWith("Arrow")) {
    event.preventDefault();
    move(event.key);
    return;
  }
  const isLetter = event.key.length === 1 && /[a-z]/i.test(event.key);
  const action = ACTIONS[isLetter ? event.key.toLowerCase() : event.key];
  if (!action || event.repeat) return;
  event.preventDefault();
  action(event);
});

find("accept").addEventListener("click", () => decide(false));
find("both").addEventListener("click", () => decide(true));
find("keep").addEventListener("click", keepAll);
find("next").addEventListener("click", showNextKind);
find("undo").addEventListener("click", undo);
find("undo-end").addEventListener("click", undo);
find("kind").addEventListener("change", () => attempt(() => load(JSON.parse(find("kind").value))));
whenFiltered(() => attempt(() => load()));

async function begin() {
  const asked = new URLSearchParams(location.search).get("kind");
  try {
    await beginFilters();
  } catch (error) {
    showNotice(error.message);
    return;
  }
  whenNamed(() => attempt(() => load(kind ? kind.key : readKind(asked))));
  identify();
}

// Return the kind that an address asks for, if it is one.
function readKind(text) {
  try {
    const key = JSON.parse(text);
    return Array.isArray(key) && key.length === 4 ? key : undefined;
  } catch {
    return undefined;
  }
}

begin();
