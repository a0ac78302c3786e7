// The counter's desk as one page: what a form or a link of the desk leads to is fetched and put in place of
// the main part, the keys work, and while an order waits its live steps are asked for. The server makes every
// page and has all the words; without this script the same pages follow each other.
"use strict";

const CARD_AWAITED = 500; // milliseconds between two questions while no card lies on the reader
const TOO_MANY_WAIT = 300; // and while the patron is at the card, where the server cannot hold its answer back

const main = document.getElementById("main");
const byId = (id) => document.getElementById(id);
let underWay = false;
let isScanning = false; // a library card's number has begun, and its Enter has not come yet
let nextScan = null; // came whole while a page was under way

// ---- one page ----------------------------------------------------------------------------------------

// Returns whether the page is shown.
async function go(url, options = {}) {
  if (underWay) return false;
  underWay = true;
  main.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(url, options);
    show(new DOMParser().parseFromString(await response.text(), "text/html"), response);
    return true;
  } catch {
    byId("unsent").hidden = false;
    return false;
  } finally {
    underWay = false;
    main.removeAttribute("aria-busy");
    const scan = nextScan;
    nextScan = null;
    if (scan) go(...scan);
  }
}

function show(page, response) {
  if (!page.getElementById("desk") && response.redirected) {
    window.location.assign(response.url); // logged out meanwhile: the server shows where to go on
    return;
  }
  const [first] = page.querySelectorAll("main [autofocus]");
  // The browser minds it while a page is loaded, and complains later.
  for (const each of page.querySelectorAll("main [autofocus]")) each.removeAttribute("autofocus");
  const begun = fieldBeingScanned()?.value;
  main.replaceChildren(...page.getElementById("main").childNodes);
  window.scrollTo(0, 0);
  const field = byId("cardnumber");
  isScanning = begun !== undefined && field !== null;
  if (isScanning) {
    field.value = begun; // the rest of the number comes into the new page's field
    field.focus();
  } else {
    (first ?? main).focus();
  }
  arrive();
}

function arrive() {
  for (const button of main.querySelectorAll("[data-copy]")) button.hidden = false;
  const panel = byId("watch");
  if (panel?.dataset.final === "false") watch(panel);
}

function belongsToTheDesk(address) {
  const root = byId("desk")?.dataset.root;
  return root !== undefined && new URL(address, window.location.href).pathname.startsWith(root);
}

main.addEventListener("submit", (event) => {
  const form = event.target;
  if (!belongsToTheDesk(form.action)) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form, event.submitter));
  // Of two presses of Enter after one number, as some scanners send them, the second finds nothing begun.
  if (underWay && isScanning && form.matches(".scan")) nextScan = [form.action, { method: "POST", body }];
  endScan();
  go(form.action, { method: "POST", body });
});

main.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-desk]");
  if (link && event.button === 0 && !event.ctrlKey && !event.shiftKey && !event.metaKey) {
    event.preventDefault();
    endScan();
    go(link.href);
  }
  const copying = event.target.closest("[data-copy]");
  if (copying) copy(byId(copying.dataset.copy));
});

// ---- scans: a number goes whole to one search, whatever page arrives while its digits come -----------------

function fieldBeingScanned() {
  const field = byId("cardnumber");
  return isScanning && document.activeElement === field ? field : null;
}

function endScan() {
  const field = fieldBeingScanned();
  isScanning = false;
  field?.select(); // the next number takes the place of this one
}

main.addEventListener("input", (event) => {
  if (event.target.id === "cardnumber") isScanning = true;
});

// ---- keys: at work only while the focus is in the main part, and letters not in a field (WCAG 2.1.4) ----

const isField = (element) => element.matches("input:not([type='radio'], [type='checkbox']), select");

main.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) return;
  const isCharacter = event.key.length === 1;
  if (isCharacter && event.target.id === "cardnumber") isScanning = true; // a page may arrive before the character
  if (isCharacter && isField(event.target)) return;
  const name = isCharacter ? event.key.toUpperCase() : event.key;
  const wanted = [...main.querySelectorAll("[data-key]")].find(
    (element) => element.dataset.key === name && element.closest("[hidden]") === null,
  );
  if (wanted) {
    event.preventDefault();
    wanted.click();
    if (wanted.matches("summary")) openedBy(wanted);
  } else if (/^[0-9]$/.test(event.key)) {
    byId("cardnumber")?.focus(); // the next patron's library card, scanned wherever the focus is
    byId("cardnumber")?.select();
    isScanning = true;
  }
});

function openedBy(summary) {
  const details = summary.parentElement;
  // What a click opens is open when the browser has told so.
  details.addEventListener("toggle", () => {
    if (details.open) details.querySelector("input:not([type='hidden']), form button").focus();
    else summary.focus();
  }, { once: true });
}

async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    byId("copied").textContent = byId("copied").dataset.words;
  } catch { // no secure connection, or not allowed: the number is marked for Ctrl+C
    window.getSelection().selectAllChildren(element);
  }
}

// ---- live steps ----------------------------------------------------------------------------------------

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function showStatus(panel, progress) {
  const words = [progress.headline, ...progress.details].join("\n");
  if (panel.dataset.words === words) return; // a screen reader speaks only what is new
  panel.dataset.words = words;
  byId("status").className = `status ${progress.tone}`;
  byId("headline").textContent = progress.headline;
  byId("details").replaceChildren(...progress.details.map((detail) => element("p", "", detail)));
  byId("steps").replaceChildren(
    ...progress.steps.map((step) => {
      const item = element("li", step.status, "");
      item.append(element("span", "name", step.name), " ", element("span", "state", step.status_words));
      return item;
    }),
  );
}

function finish() {
  const next = byId("next");
  if (!next.hidden) return;
  byId("cancel").hidden = true;
  next.hidden = false;
  if (!fieldBeingScanned()) next.focus(); // one key (Enter or Esc) leads on to the next patron
}

async function ask(panel, seen) {
  const address = seen === null ? panel.dataset.state : `${panel.dataset.state}?seen=${seen}`;
  const response = await fetch(address, { headers: { Accept: "application/json" } });
  if (response.redirected) {
    window.location.reload(); // logged out meanwhile
    return null;
  }
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}

// While the patron is at the card the server is asked to answer when there is something new to be shown.
async function watch(panel, seen = null) {
  let pause = CARD_AWAITED;
  let shown = null;
  try {
    const progress = await ask(panel, seen);
    if (progress === null || !panel.isConnected) return;
    byId("offline").hidden = true;
    showStatus(panel, progress);
    if (progress.tone === "success" && panel.dataset.answer) {
      if (await go(panel.dataset.answer)) return;
    } else {
      if (!progress.is_open) finish();
      if (progress.is_final) return;
    }
    if (progress.at_the_card) {
      pause = seen !== progress.tag || progress.has_waited ? 0 : TOO_MANY_WAIT;
      shown = progress.tag;
    }
  } catch {
    if (panel.isConnected) byId("offline").hidden = false;
  }
  window.setTimeout(() => panel.isConnected && watch(panel, shown), pause);
}

arrive();
