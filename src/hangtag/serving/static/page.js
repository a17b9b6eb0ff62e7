"use strict";

// Photographs per request, and requests at once.
const BATCH_SIZE = 8;
const MAX_REQUESTS = 2;
const NO_RESPONSE = "The service does not respond. Is it still running?";

const find = (id) => document.getElementById(id);
const waiting = [];
const shown = [];
let working = 0;
let apiKey = "";
let canExplain = false;

function percent(value) {
  if (value >= 0.995 && value < 1) return ">99%";
  return `${Math.round(value * 100)}%`;
}

function headers() {
  return apiKey ? { Authorization: `Bearer ${apiKey}` } : {};
}

function add(files) {
  const photographs = [...files].filter((file) => file.size !== undefined);
  for (const file of photographs) {
    const card = find("card").content.firstElementChild.cloneNode(true);
    const image = card.querySelector("img");
    const address = URL.createObjectURL(file);
    image.addEventListener("error", () => {
      image.remove();
      updateExplainButton(entry);
    });
    image.src = address;
    image.alt = `Photograph ${file.name}`;
    card.querySelector("h3").textContent = file.name;
    card.querySelector("h3").title = file.name;
    card.classList.add("pending");
    card.querySelector(".prediction").textContent = "waiting…";
    find("results").append(card);
    const entry = { file, card, address, result: null, map: null };
    card.querySelector(".explain").addEventListener("click", () => toggleHeatmap(entry));
    waiting.push(entry);
    shown.push(entry);
  }
  find("bar").hidden = shown.length === 0;
  showProgress();
  sendWaiting();
}

function sendWaiting() {
  while (working < MAX_REQUESTS && waiting.length > 0) {
    working += 1;
    classify(waiting.splice(0, BATCH_SIZE)).finally(() => {
      working -= 1;
      showProgress();
      sendWaiting();
    });
  }
}

async function classify(entries) {
  const form = new FormData();
  for (const entry of entries) form.append("file", entry.file, entry.file.name);
  try {
    const response = await fetch("v1/classify", { method: "POST", body: form, headers: headers() });
    const answer = await response.json();
    if (response.status === 401) {
      waiting.unshift(...entries);
      find("key").hidden = false;
      find("key-field").focus();
      await new Promise((resolve) => find("key").addEventListener("submit", resolve, { once: true }));
      return;
    }
    if ((response.status === 503 || response.status === 429) && entries.some((entry) => !entry.isRetried)) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      for (const entry of entries) entry.isRetried = true;
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      waiting.unshift(...entries);
      return;
    }
    if (!response.ok && entries.length > 1) {
      // The request was refused because of one photograph: send each alone, so that the others are classified.
      for (const entry of entries) await classify([entry]);
      return;
    }
    entries.forEach((entry, index) => showResult(entry, response.ok ? answer.results[index] : answer));
  } catch {
    const error = { code: "no_answer", message: NO_RESPONSE };
    entries.forEach((entry) => showResult(entry, { error }));
  }
}

function showResult(entry, result) {
  entry.result = result;
  const { card } = entry;
  card.classList.remove("pending");
  const prediction = card.querySelector(".prediction");
  if (result.error) {
    card.classList.add("failed");
    prediction.textContent = result.error.message;
    return;
  }
  card.classList.toggle("doubtful", !result.is_sure);
  if (result.is_sure) prediction.textContent = `${result.label} · ${percent(result.confidence)}`;
  else if (!result.in_distribution) prediction.textContent = "not sure: unlike a catalogue photograph";
  else prediction.textContent = "not sure";
  // What a photograph of another kind might be is no fact to show.
  if (!result.in_distribution) {
    updateExplainButton(entry);
    return;
  }
  // The label itself is shown above already.
  const levels = Object.entries(result.levels).filter(([level, value]) => value && level !== "label").map(([, value]) => value);
  card.querySelector(".levels").textContent = levels.join(" › ");
  const list = card.querySelector(".alternatives");
  const likely = result.alternatives.slice(0, 3).filter(({ confidence }, index) => index === 0 || confidence >= 0.005);
  for (const { label, confidence } of likely) {
    const line = document.createElement("li");
    line.style.setProperty("--share", confidence);
    const name = document.createElement("span");
    name.textContent = label;
    const number = document.createElement("span");
    number.textContent = percent(confidence);
    line.append(name, number);
    list.append(line);
  }
  const attributes = Object.values(result.attributes).map(({ value }) => value);
  card.querySelector(".attributes").textContent = attributes.join(" · ");
  updateExplainButton(entry);
}

// A heat map is offered where the model can compute it and the browser can show the photograph.
function updateExplainButton({ card, result }) {
  const isShown = canExplain && result && !result.error && card.querySelector("img");
  card.querySelector(".explain").hidden = !isShown;
}

async function toggleHeatmap(entry) {
  const { card } = entry;
  const button = card.querySelector(".explain");
  const note = card.querySelector(".heatmap");
  if (!entry.map) {
    if (button.getAttribute("aria-busy")) return;
    button.setAttribute("aria-busy", "true");
    note.textContent = "computing…";
    try {
      entry.map = await fetchHeatmap(entry);
      card.querySelector(".photo").append(entry.map);
    } catch (error) {
      note.textContent = error.message;
      return;
    } finally {
      button.removeAttribute("aria-busy");
    }
  }
  const isOn = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(isOn));
  entry.map.hidden = !isOn;
  note.textContent = isOn ? `Darker is more evidence for ${entry.map.dataset.label}.` : "";
}

async function fetchHeatmap({ file }) {
  const form = new FormData();
  form.append("file", file, file.name);
  let answer;
  try {
    const response = await fetch("v1/classify?explain=true", { method: "POST", body: form, headers: headers() });
    answer = await response.json();
  } catch {
    throw new Error(NO_RESPONSE);
  }
  if (answer.error) throw new Error(answer.error.message);
  const { label, png } = answer.results[0].heatmap;
  const map = document.createElement("img");
  map.className = "map";
  map.hidden = true;
  map.alt = `Heat map for ${label}`;
  map.dataset.label = label;
  map.src = `data:image/png;base64,${png}`;
  return map;
}

function showProgress() {
  const done = shown.filter((entry) => entry.result);
  const doubtful = done.filter(({ result }) => !result.error && !result.is_sure).length;
  const failed = done.filter(({ result }) => result.error).length;
  const parts = [`${done.length} of ${shown.length} done`];
  if (doubtful) parts.push(`${doubtful} not sure`);
  if (failed) parts.push(`${failed} not classified`);
  find("progress").textContent = parts.join(" · ");
  find("download").disabled = done.length === 0;
}

const FORMULA = /^'*[ \v\f\u00a0\ufeff]*[\t\r\n=+\-@\uff1d\uff0b\uff0d\uff20]/;

function cell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  // A spreadsheet would run a cell that begins like a formula; cells are guarded as in hangtag's own tables.
  if (typeof value === "string" && FORMULA.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function makeCsv() {
  const done = shown.filter((entry) => entry.result);
  const sample = done.find(({ result }) => !result.error)?.result;
  const levels = sample ? Object.keys(sample.levels) : [];
  const attributes = sample ? Object.keys(sample.attributes) : [];
  const lines = [["file", "label", "confidence", "is_sure", "in_distribution", ...levels, ...attributes, "error"]];
  for (const { file, result } of done) {
    if (result.error) {
      const empty = Array(4 + levels.length + attributes.length).fill("");
      lines.push([file.name, ...empty, result.error.message]);
      continue;
    }
    const values = [
      ...levels.map((level) => result.levels[level]),
      ...attributes.map((key) => result.attributes[key].value),
    ];
    lines.push([file.name, result.label, result.confidence, result.is_sure, result.in_distribution, ...values, ""]);
  }
  return lines.map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([makeCsv()], { type: "text/csv" }));
  link.download = "classified.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function clear() {
  waiting.length = 0;
  for (const { address } of shown.splice(0)) URL.revokeObjectURL(address);
  find("results").replaceChildren();
  find("bar").hidden = true;
  find("files").focus();
}

async function showModel() {
  const response = await fetch("v1/model", { headers: headers() });
  if (response.status === 401) {
    find("key").hidden = false;
    return;
  }
  const model = await response.json();
  canExplain = model.can_explain;
  shown.forEach(updateExplainButton);
  const [height, width] = model.image_size;
  const details = `model ${model.name}, ${height} x ${width} pixels`;
  find("model").textContent = `Classifies photographs of fashion products into ${model.classes.length} classes (${details}).`;
}

find("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
find("download").addEventListener("click", download);
find("clear").addEventListener("click", clear);
find("key").addEventListener("submit", (event) => {
  event.preventDefault();
  apiKey = find("key-field").value;
  find("key").hidden = true;
  showModel();
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    find("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
});
showModel().catch(() => {});
