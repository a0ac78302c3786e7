// The patron's page: shows what the agent says, and takes the PIN. Text is only ever set as text.
"use strict";

const key = document.querySelector('meta[name="page-key"]').content;
const firstLanguage = document.documentElement.lang;
const BACK_TO_FIRST_LANGUAGE_MS = 20_000;
const RETRY_MS = 2_000;

// A clock that is set while the page stands there moves no limit.
const now = () => performance.now();
const part = (id) => document.getElementById(id);
const seen = { version: -1, tone: "" };
let frame = null;
let language = firstLanguage;
let question = null;
let typed = "";
let ends = 0;
let listening = null;
let idleSince = now();
let sound = null;

async function call(path, options = {}) {
  const headers = { "X-Page-Key": key, ...(options.headers ?? {}) };
  return fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
}

function choose(next) {
  language = next;
  seen.version = -1;
  listening?.abort();
}

function showFrame(next) {
  frame = next;
  document.documentElement.lang = frame.language;
  document.title = frame.words.title;
  part("title").textContent = frame.words.title;
  part("privacy").textContent = frame.words.privacy;
  part("languages").setAttribute("aria-label", frame.words.languages);
  part("languages").replaceChildren(
    ...frame.languages.map(({ tag, name }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.lang = tag;
      button.textContent = name;
      button.setAttribute("aria-pressed", String(tag === frame.language));
      button.addEventListener("click", () => choose(tag));
      return button;
    }),
  );
}

function showState(state) {
  const changedTone = state.tone !== seen.tone;
  seen.version = state.version;
  seen.tone = state.tone;
  document.body.dataset.tone = state.tone;
  if (part("headline").textContent !== state.headline) part("headline").textContent = state.headline;
  part("warning").textContent = state.warning;
  part("notice").textContent = state.notice;
  if (!state.is_idle) idleSince = now();
  showQuestion(state.question);
  showBarcode(state.barcode);
  if (changedTone) play(state.tone);
}

function showQuestion(next) {
  const isNew = next?.ticket !== question?.ticket || next?.attempts_remaining !== question?.attempts_remaining;
  if (next?.ticket !== question?.ticket) typed = "";
  question = next;
  part("question").hidden = question === null;
  if (question === null) {
    typed = "";
    part("pad").replaceChildren();
    return;
  }
  ends = now() + question.seconds * 1000;
  part("attempts").textContent = question.attempts_remaining;
  if (isNew) drawPad(); // drawn again it would lose the focus
  drawDots();
  drawTime();
}

function drawPad() {
  const digits = [...question.keys].map((digit) => padKey(digit, () => type(digit)));
  const zeroPlace = digits.pop();
  const remove = padKey(frame.words.delete, removeLast, "word");
  const giveUp = padKey(frame.words.give_up, () => send(""), "word");
  part("pad").replaceChildren(...digits, remove, zeroPlace, giveUp);
}

function padKey(text, action, kind = "") {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.className = kind;
  button.addEventListener("click", action);
  return button;
}

function drawDots() {
  const dots = Array.from({ length: question.digits }, (_, place) => {
    const dot = document.createElement("span");
    dot.className = place < typed.length ? "typed" : "";
    return dot;
  });
  part("dots").replaceChildren(...dots);
  part("dots").setAttribute("aria-label", question.typed[typed.length]);
}

function drawTime() {
  if (question === null) return;
  const seconds = Math.max(0, Math.ceil((ends - now()) / 1000));
  const warning = seconds <= question.warn_at;
  const words = warning ? frame.words.time_warning : frame.words.time_left;
  if (warning && part("time").dataset.warning !== "true") play("warning");
  part("time").dataset.warning = String(warning);
  part("time").textContent = words.replace("{seconds}", String(seconds));
}

function type(digit) {
  if (question === null || typed.length >= question.digits) return;
  typed += digit;
  drawDots();
  if (typed.length === question.digits) send(typed);
}

function removeLast() {
  typed = typed.slice(0, -1);
  if (question !== null) drawDots();
}

async function send(pin) {
  const { ticket } = question;
  const body = JSON.stringify({ ticket, pin });
  typed = "";
  part("pad").replaceChildren();
  try {
    await call("/pin", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  } catch {
    // The next state says what became of it.
  }
}

async function showBarcode(caption) {
  const picture = part("picture");
  part("barcode").hidden = caption === null;
  if (caption === null) {
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.removeAttribute("src");
    return;
  }
  part("caption").textContent = caption;
  picture.alt = caption;
  if (picture.getAttribute("src")) return;
  const answer = await call("/barcode");
  if (answer.ok) picture.src = URL.createObjectURL(await answer.blob());
}

// [frequency in Hz, seconds] of each tone of a sound.
const SOUNDS = {
  good: [[880, 0.12], [1175, 0.18]],
  bad: [[330, 0.35]],
  asking: [[740, 0.12]],
  warning: [[660, 0.15], [660, 0.15]],
  alarm: [[988, 0.25], [740, 0.25], [988, 0.25], [740, 0.25]],
};

function play(name) {
  const tones = SOUNDS[name];
  if (!tones || !window.AudioContext) return;
  sound ??= new AudioContext();
  let at = sound.currentTime;
  for (const [frequency, seconds] of tones) {
    const tone = sound.createOscillator();
    const volume = sound.createGain();
    tone.frequency.value = frequency;
    volume.gain.value = 0.2;
    tone.connect(volume).connect(sound.destination);
    tone.start(at);
    tone.stop(at + seconds);
    at += seconds;
  }
}

document.addEventListener("keydown", (event) => {
  if (question === null || event.ctrlKey || event.altKey || event.metaKey) return;
  if (/^[0-9]$/.test(event.key)) type(event.key);
  else if (event.key === "Backspace") removeLast();
  else if (event.key === "Escape") send("");
  else return;
  event.preventDefault();
});

setInterval(() => {
  drawTime();
  if (seen.tone === "alarm") play("alarm");
  const idle = seen.tone === "idle" && now() - idleSince > BACK_TO_FIRST_LANGUAGE_MS;
  if (idle && language !== firstLanguage) choose(firstLanguage);
}, 1_000);

async function listen() {
  for (;;) {
    listening = new AbortController();
    try {
      const { signal } = listening;
      const isOther = frame?.language !== language;
      const words = isOther ? await (await call(`/frame?language=${language}`, { signal })).json() : frame;
      const query = `version=${seen.version}&tone=${seen.tone}&language=${language}`;
      const answer = await call(`/state?${query}`, { signal });
      if (answer.status === 403) window.location.reload(); // the agent was started anew, with another key
      const state = await answer.json();
      if (isOther) showFrame(words); // together with the state: no page stands there in two languages
      showState(state);
    } catch (error) {
      if (error.name === "AbortError") continue;
      showQuestion(null);
      document.body.dataset.tone = "bad";
      seen.version = -1;
      if (frame !== null) part("headline").textContent = frame.words.agent_gone;
      await new Promise((wake) => setTimeout(wake, RETRY_MS));
    }
  }
}

listen();
