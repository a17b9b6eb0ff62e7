"use strict";

// What the pages share: requests, elements, notices and numbers.

const find = (id) => document.getElementById(id);
const token = document.querySelector('meta[name="app-token"]').content;
// The catalogue of this page; empty on the first one.
const catalogId = location.pathname.split("/")[2] || "";
const SENT_AGAIN = "hangtag does not respond. Is it still running? Start it again; nothing is lost.";

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

// Send a request and return its JSON; an error has the message for people.
async function request(path, { method = "GET", body, bytes, signal } = {}) {
  const init = { method, signal, headers: { "X-App-Token": token } };
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  } else if (bytes) {
    init.headers["Content-Type"] = "application/octet-stream";
    init.body = bytes;
  }
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    throw error.name === "AbortError" ? { stopped: true } : { message: SENT_AGAIN };
  }
  const answer = await response.json().catch(() => ({ error: { message: "hangtag failed. Try it again." } }));
  if (!response.ok) throw { status: response.status, ...answer.error };
  return answer;
}

function showNotice(text, id = "notice") {
  find(id).textContent = text || "";
  find(id).hidden = !text;
  if (text) find(id).scrollIntoView({ block: "nearest" });
}

// Run work that a person has started, and show what went wrong.
async function attempt(work, id = "notice") {
  showNotice("", id);
  try {
    return await work();
  } catch (error) {
    if (error.stopped) return undefined;
    if (!error.message || error instanceof Error) throw error;
    showNotice(error.message, id);
    return undefined;
  }
}

function count(number, noun, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : many || `${noun}s`}`;
}

function describeBytes(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3)).toLocaleString("en")} KB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function describeSeconds(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function describeTime(text) {
  const minutes = Math.round((Date.now() - new Date(text)) / 60000);
  if (minutes < 2) return "just now";
  if (minutes < 60) return `${minutes} minutes ago`;
  if (minutes < 1440) return count(Math.round(minutes / 60), "hour") + " ago";
  return `on ${new Date(text).toLocaleDateString("en", { day: "numeric", month: "long", year: "numeric" })}`;
}
