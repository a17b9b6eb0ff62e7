"use strict";

// The first page: choose a catalogue of this computer, drop one, or go on with an earlier one.

// The catalogue whose newer export is chosen; empty for a new one.
const replaces = new URLSearchParams(location.search).get("newer") || "";
const STATES = { waiting: "waits to be checked", running: "is being checked", stopping: "is being stopped" };
let sending = null;

function open(id) {
  // Of a newer export, first the columns again; they may have changed.
  location.assign(`/catalogues/${id}${replaces ? "#columns" : ""}`);
}

async function choose(path, id) {
  await attempt(async () => open((await request("/api/catalogues", { method: "POST", body: { path, replaces } })).id), id);
}

// Earlier catalogues

function describe(each) {
  if (each.state) return STATES[each.state];
  if (each.failed) return "The last check did not go through.";
  if (!each.is_there) return "Not where it was.";
  if (!each.checked) return "Not checked yet.";
  if (each.is_newer) return "The newer export is not checked yet.";
  const wrong = each.wrong ? `${each.wrong.toLocaleString("en")} ${each.wrong === 1 ? "looks" : "look"} wrong` : "nothing looks wrong";
  const decided = each.decided ? `, ${each.decided.toLocaleString("en")} decided` : "";
  return `${count(each.products, "product")}, ${wrong}${decided}. Checked ${describeTime(each.checked)}.`;
}

async function list() {
  const { catalogues } = await request("/api/catalogues");
  if (replaces) {
    const earlier = catalogues.find((each) => each.id === replaces);
    if (earlier) {
      find("heading").textContent = `The newer export of ${earlier.name}`;
      find("lead").textContent = "Only what is new or changed is checked anew. What you have decided stays decided.";
    }
    return;
  }
  find("recent").hidden = catalogues.length === 0;
  find("catalogues").replaceChildren(...catalogues.map((each) => {
    const line = make("li");
    const link = make("a");
    link.href = `/catalogues/${each.id}`;
    link.append(make("b", each.name), make("span", describe(each), each.failed ? "bad" : ""), make("span", each.path, "note path"));
    line.append(link);
    return line;
  }));
  if (catalogues.some((each) => each.state)) setTimeout(() => list().catch(() => {}), 2000);
}

// Browse the folders of this computer

async function browse(path) {
  await attempt(async () => {
    const found = await request(`/api/browse?${new URLSearchParams({ path })}`);
    find("browser-path").value = found.path;
    find("browser-up").disabled = found.parent === null;
    find("browser-up").dataset.path = found.parent || "";
    find("browser-use").dataset.path = found.path;
    const lines = [...found.folders.map((each) => listed(each, "folder", () => browse(each.path))),
      ...found.files.map((each) => listed(each, describeBytes(each.bytes), () => choose(each.path, "browser-notice")))];
    find("browser-list").replaceChildren(...lines);
    find("browser-about").textContent = [
      lines.length ? "" : "No folder and no catalogue here.",
      found.photographs ? `${count(found.photographs, "photograph")} here.` : "",
      found.more ? "Not all are shown; type the path instead." : "",
    ].filter(Boolean).join(" ");
  }, "browser-notice");
}

function listed(each, about, act) {
  const line = make("li");
  const button = make("button", undefined, "plain");
  button.type = "button";
  button.append(make("span", each.name), make("span", about, "note"));
  button.addEventListener("click", act);
  line.append(button);
  return line;
}

find("browse").addEventListener("click", () => {
  find("browser").showModal();
  browse("");
});
find("browser-close").addEventListener("click", () => find("browser").close());
find("browser-up").addEventListener("click", () => browse(find("browser-up").dataset.path));
find("browser-use").addEventListener("click", () => choose(find("browser-use").dataset.path, "browser-notice"));
find("browser-form").addEventListener("submit", (event) => {
  event.preventDefault();
  browse(find("browser-path").value.trim());
});
find("browser-list").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...find("browser-list").querySelectorAll("button")];
  buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length]?.focus();
});
find("typed").addEventListener("submit", (event) => {
  event.preventDefault();
  choose(find("path").value);
});

// Copy what is dropped or picked, in pieces, all or nothing

// The files of an entry that was dropped, with their paths, without hidden ones.
async function walk(entry, folder) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return [{ path: folder + entry.name, file }];
  }
  const reader = entry.createReader();
  const entries = [];
  for (;;) {
    // A folder is read in parts.
    const part = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!part.length) break;
    entries.push(...part);
  }
  const found = [];
  for (const each of entries) found.push(...await walk(each, `${folder}${entry.name}/`));
  return found;
}

async function send(files) {
  if (sending) return;
  sending = new AbortController();
  const { signal } = sending;
  find("drop").hidden = true;
  find("sending").hidden = false;
  const whole = new Blob(files.map((each) => each.file));
  const total = `${count(files.length, "file")}, ${describeBytes(whole.size)}`;
  let id = null;
  try {
    const listing = files.map((each) => ({ path: each.path, size: each.file.size }));
    const begun = await request("/api/uploads", { method: "POST", body: { files: listing }, signal });
    id = begun.id;
    for (let offset = 0; offset < whole.size;) {
      find("sending-text").textContent = `Copying ${total}: ${Math.floor(offset / whole.size * 100)} %`;
      find("sending-bar").value = offset / whole.size;
      const bytes = whole.slice(offset, offset + begun.piece);
      ({ received: offset } = await request(`/api/uploads/${id}/pieces?offset=${offset}`, { method: "POST", bytes, signal }));
    }
    find("sending-bar").value = 1;
    const query = new URLSearchParams(replaces ? { replaces } : {});
    open((await request(`/api/uploads/${id}/finish?${query}`, { method: "POST", signal })).id);
  } catch (error) {
    if (id) request(`/api/uploads/${id}`, { method: "DELETE" }).catch(() => {});
    throw error;
  } finally {
    sending = null;
    find("drop").hidden = false;
    find("sending").hidden = true;
  }
}

function pick(input) {
  const files = [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  const visible = files.filter((each) => !each.path.split("/").some((part) => part.startsWith(".")));
  input.value = "";
  if (visible.length) attempt(() => send(visible));
}

find("pick-file").addEventListener("click", () => find("files").click());
find("pick-folder").addEventListener("click", () => find("folder").click());
find("files").addEventListener("change", () => pick(find("files")));
find("folder").addEventListener("change", () => pick(find("folder")));
find("sending-stop").addEventListener("click", () => sending?.abort());
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) find("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  attempt(async () => {
    const files = [];
    for (const entry of entries) files.push(...await walk(entry, ""));
    if (files.length) await send(files);
  });
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

attempt(list);
