// The counter's live steps. Asks once a second how far the link has come, and writes the server's
// words into the page. It decides nothing and has no words of its own.
"use strict";

const INTERVAL = 1000; // milliseconds between the end of one question and the next

const panel = document.getElementById("watch");
const byId = (id) => document.getElementById(id);

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function showStatus(progress) {
  const words = [progress.headline, ...progress.details].join("\n");
  if (panel.dataset.words === words) return; // a screen reader speaks only what is new
  panel.dataset.words = words;
  byId("status").className = `status ${progress.tone}`;
  byId("headline").textContent = progress.headline;
  byId("details").replaceChildren(...progress.details.map((detail) => element("p", "", detail)));
}

function showSteps(steps) {
  byId("steps").replaceChildren(
    ...steps.map((step) => {
      const item = element("li", step.status, "");
      item.append(element("span", "name", step.name), " ", element("span", "state", step.status_words));
      return item;
    }),
  );
}

function finish() {
  byId("cancel").hidden = true;
  byId("next").hidden = false;
  byId("next").focus(); // one key (Enter) leads on to the next patron
}

async function ask() {
  const response = await fetch(panel.dataset.state, { headers: { Accept: "application/json" } });
  if (response.redirected) {
    window.location.reload(); // logged out meanwhile: the server shows where to go on
    return false;
  }
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const progress = await response.json();
  showStatus(progress);
  showSteps(progress.steps);
  if (!progress.is_open) finish();
  return progress.is_open;
}

async function watch() {
  let open = true;
  try {
    open = await ask();
    byId("offline").hidden = true;
  } catch {
    byId("offline").hidden = false;
  }
  if (open) window.setTimeout(watch, INTERVAL);
}

if (panel.dataset.open === "true") watch();
