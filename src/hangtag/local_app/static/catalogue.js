"use strict";

// The page of a catalogue: its columns, the progress of its check, and the results.

const SECTIONS = ["columns", "checking", "results"];
const POLL = 1000;
let catalogue = null;
let wanted = location.hash.slice(1);
let timer = 0;

function show(section) {
  for (const each of SECTIONS) find(each).hidden = each !== section;
  const steps = { columns: "step-columns", checking: "step-check", results: "step-results" };
  for (const [name, id] of Object.entries(steps)) {
    if (name === section) find(id).setAttribute("aria-current", "step");
    else find(id).removeAttribute("aria-current");
  }
  find("step-columns").disabled = Boolean(catalogue.checking);
  find("step-check").disabled = !catalogue.checking;
  find("step-results").disabled = !catalogue.results;
}

async function refresh() {
  clearTimeout(timer);
  const before = catalogue;
  catalogue = await request(`/api/catalogues/${catalogId}`);
  await render(Boolean(before?.checking) && !catalogue.checking);
}

async function render(hasEnded) {
  find("heading").textContent = catalogue.name;
  find("where").textContent = catalogue.path;
  document.title = `${catalogue.name} · hangtag`;
  for (const [id, name] of [["changes-link", "changes"], ["not-read-link", "not-read"], ["description-link", "description"]]) {
    find(id).href = `/catalogues/${catalogId}/${name}`;
  }
  if (catalogue.checking) {
    showProgress(catalogue.checking);
    show("checking");
    timer = setTimeout(() => attempt(refresh), POLL);
    return;
  }
  if (hasEnded) wanted = catalogue.failed ? "columns" : "results";
  if (catalogue.failed) showNotice(`The last check did not go through. ${catalogue.failed}`);
  else if (!catalogue.is_there) showNotice("The catalogue is not where it was. Put it back, or choose a newer export below.");
  if (catalogue.results && wanted !== "columns") {
    showResults(catalogue.results);
    show("results");
  } else {
    show("columns");
    if (!preview) await loadColumns();
  }
}

// Progress

function showProgress(checking) {
  const { state, waits_for: before, steps, outcomes, bar, seconds_left: left } = checking;
  find("stop").disabled = state === "stopping";
  find("checking-title").textContent = { waiting: "Waiting", stopping: "Stopping" }[state] || "Checking";
  find("checking-about").textContent = state === "waiting" ? `${before} is being checked. This catalogue is next; you can wait or come back.`
    : steps.length ? "" : "Starting …";
  find("checking-steps").replaceChildren(...steps.map((title, index) => {
    const isNow = index === outcomes.length;
    const line = make("li", undefined, index < outcomes.length ? "done" : isNow ? "now" : "next");
    if (isNow) line.setAttribute("aria-current", "step");
    line.append(make("b", title));
    if (index < outcomes.length) line.append(make("span", outcomes[index], "note"));
    if (isNow) line.append(makeBar(bar, left));
    return line;
  }));
  if (bar?.total && state === "running") document.title = `${Math.floor(bar.done / bar.total * 100)} % · ${catalogue.name} · hangtag`;
}

function makeBar(bar, left) {
  const block = make("div", undefined, "bar");
  const progress = make("progress");
  if (bar?.total) {
    progress.max = bar.total;
    progress.value = bar.done;
  }
  progress.setAttribute("aria-label", bar?.description || "In progress");
  const parts = bar ? [`${bar.description}${bar.total ? `: ${bar.done.toLocaleString("en")} of ${count(bar.total, bar.unit, bar.unit)}` : ""}`] : [];
  if (left) parts.push(`about ${describeSeconds(left)} left for this step`);
  block.append(progress, make("span", parts.join(" · "), "note"));
  return block;
}

find("start").addEventListener("click", () => attempt(start));
find("again").addEventListener("click", () => attempt(start));
find("stop").addEventListener("click", () => attempt(async () => {
  wanted = catalogue.results ? "results" : "columns";
  catalogue = await request(`/api/catalogues/${catalogId}/check`, { method: "DELETE" });
  await render(false);
}));

async function start() {
  showNotice("");
  catalogue = await request(`/api/catalogues/${catalogId}/check`, { method: "POST" });
  await render(false);
  find("checking-title").scrollIntoView({ block: "nearest" });
}

// Results

function showResults(results) {
  const review = `/reviews/${catalogId}/`;
  find("number").textContent = results.wrong_categories.toLocaleString("en");
  find("number").hidden = results.judged === 0;
  find("number").classList.toggle("none", results.wrong_categories === 0);
  find("headline").textContent = results.headline;
  find("less-sure").textContent = results.less_sure;
  find("since").textContent = results.changes;
  find("since").hidden = !results.changes || catalogue.is_newer;
  find("newer-waits").hidden = !catalogue.is_newer;
  find("decide-grid").href = `${review}grid`;
  find("decide-one").href = review;
  find("newer").href = `/?newer=${catalogId}`;
  find("decided").textContent = catalogue.decided ? `${count(catalogue.decided, "product")} decided so far.` : "";
  showOpen();
  showTake(results);
  const found = results.products.toLocaleString("en");
  find("notes").replaceChildren(...results.notes.map((text) => make("li", text)),
    make("li", `Read: ${found} products with ${count(results.photographs, "photograph")}. Checked ${describeTime(results.prepared)}.`));
  showBars("by-category", results.by_category, (value) => `${review}?${new URLSearchParams({ label: value })}`);
  showBars("by-brand", results.by_brand, (value) => `${review}?${new URLSearchParams({ brand: value })}`);
  showList("not-read", results.not_read.map((each) => `${each.count.toLocaleString("en")} ${each.text}`));
  showList("spellings", results.spellings.slice(0, 8).map((each) => `“${each.given}” for “${each.suggested}” (${count(each.products, "product")})`));
  showExamples(results.examples, review);
}

// How much is left to decide, once the review has been opened, which takes a moment.
async function showOpen() {
  const { open, skipped } = await request(`/api/catalogues/${catalogId}/open`).catch(() => ({}));
  if (open === undefined || !catalogue.decided) return;
  const later = skipped ? `, ${count(skipped, "suspicion")} skipped for later` : "";
  find("decided").textContent = `${count(catalogue.decided, "product")} decided so far; ${open ? count(open, "suspicion") : "nothing"} left to decide${later}.`;
  find("decide-grid").classList.toggle("plain", open === 0);
}

function showBars(id, found, makeAddress) {
  const values = found ? found.values : [];
  find(id).hidden = values.length === 0;
  const most = Math.max(...values.map((each) => each.wrong), 1);
  find(id).querySelector("ul").replaceChildren(...values.map((each) => {
    const line = make("li");
    const box = make(makeAddress ? "a" : "div");
    if (makeAddress) box.href = makeAddress(each.value);
    const bar = make("i");
    bar.style.width = `${Math.max(4, each.wrong / most * 100)}%`;
    box.append(make("b", each.value), make("span", `${each.wrong.toLocaleString("en")} of ${each.products.toLocaleString("en")}`, "note"), bar);
    line.append(box);
    return line;
  }));
}

function showList(id, texts) {
  find(id).hidden = texts.length === 0;
  find(id).querySelector("ul").replaceChildren(...texts.map((text) => make("li", text)));
}

function showExamples(examples) {
  find("examples").hidden = examples.length === 0;
  find("examples").querySelector("ul").replaceChildren(...examples.map((each) => {
    const line = make("li");
    const image = make("img");
    image.src = `/api/catalogues/${catalogId}/product?${new URLSearchParams({ item_id: each.item_id })}`;
    image.alt = "";
    const change = make("p", undefined, "change");
    change.append(make("s", each.given), " → ", make("b", each.suggested));
    const text = make("div");
    text.append(make("b", each.name || each.item_id), change, make("p", each.reason, "note"));
    line.append(image, text);
    return line;
  }));
}

// The corrected file

function showTake(results) {
  find("corrected").disabled = catalogue.decided === 0 || catalogue.is_newer;
  // The link to the list of changes comes with the file.
  if (find("corrected").disabled) find("changes-link").hidden = true;
  find("to-correct").textContent = catalogue.decided && !catalogue.is_newer ? results.to_correct : "";
  find("corrected").textContent = results.has_table ? "Download the corrected file" : "Write the list of changes";
  find("take-about").textContent = describeTake();
}

// What the corrected file is, or why it cannot be made yet.
function describeTake() {
  if (catalogue.is_newer) return "It cannot be made yet: the newer export has not been checked. Check it first; what you have decided is kept.";
  if (!catalogue.decided) {
    return "It cannot be made yet: nothing is decided, so nothing would change. Accept a suggestion or keep a value; after the first decision you can download the file, and go on deciding later.";
  }
  return "Your own file with the decided cells changed, and no other byte. Your original stays as it is.";
}

find("check-newer").addEventListener("click", () => attempt(() => go("columns")));
find("corrected").addEventListener("click", () => attempt(async () => {
  find("corrected").disabled = true;
  find("taken").textContent = "";
  find("refused").replaceChildren();
  try {
    const done = await request(`/api/catalogues/${catalogId}/apply`, { method: "POST" });
    find("taken").textContent = done.products
      ? `${count(done.products, "product")} corrected (${count(done.cells, "cell")} changed).` : "No cell had to be changed.";
    if (done.not_applied) find("taken").textContent += ` ${count(done.not_applied, "decision")} could not be applied:`;
    find("refused").replaceChildren(...done.refused.map((each) => make("li", `${each.item_id}: ${each.reason}`)));
    find("changes-link").hidden = false;
    location.assign(`/catalogues/${catalogId}/${done.has_file ? "corrected" : "changes"}`);
  } finally {
    showTake(catalogue.results);
  }
}));

// Begin

find("step-columns").addEventListener("click", () => attempt(() => go("columns")));
find("step-results").addEventListener("click", () => attempt(() => go("results")));

async function go(section) {
  wanted = section;
  history.replaceState(null, "", `#${section}`);
  await render(false);
}

window.addEventListener("hashchange", () => attempt(() => go(location.hash.slice(1))));
window.addEventListener("pageshow", (event) => {
  // Decisions were made since.
  if (event.persisted) attempt(refresh);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && catalogue && !catalogue.checking) attempt(refresh);
});

attempt(refresh);
