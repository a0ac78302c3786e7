// The My Number Card in Koha's staff pages: which patron is it, link, link anew, unlink.
//
// It asks the bridge (koha-jpki-bridge) and never this computer: the card reader is the bridge's. Koha's plugin
// loads it; without the plugin it can be pasted into the preference IntranetUserJS (docs/koha.md). It needs
// nothing of the page but the elements that it looks for, runs under a strict Content-Security-Policy, and
// writes whatever it is told as text.
//
// License: GPL-3.0-or-later
(() => {
  "use strict";

  // Where it is pasted into IntranetUserJS, the bridge's address goes here: "https://bridge.example.jp".
  const PASTED_BRIDGE = "";

  const { bridge: givenBridge, pass: passRoute } = document.currentScript?.dataset ?? {};
  const bridge = (givenBridge || PASTED_BRIDGE).replace(/\/$/, "");
  if (!bridge || document.documentElement.dataset.mnc) return;
  document.documentElement.dataset.mnc = "1"; // plugin and paste together work once

  const INTERVAL = 1000; // milliseconds between the end of one question and the next
  const PATIENCE = 15000; // milliseconds for one answer
  const SHORTCUT = "KeyM"; // with Alt
  const KEPT_TERMINAL = "koha-jpki-terminal";
  const KEPT_PASS = "koha-jpki-desk";

  const WORDS = {
    ja: {
      card: "マイナンバーカード",
      who: "マイナンバーカードで利用者を確認",
      links: "マイナンバーカードの連携",
      close: "閉じる",
      cancel: "取りやめる",
      again: "もう一度",
      otherTerminal: "別の端末にする",
      terminal: "カードを置く端末",
      terminalAt: "端末：",
      noTerminal: "窓口の端末が登録されていません。管理者にお知らせください。",
      next: "次へ",
      asking: "確認しています…",
      notLinked: "連携されているカードはありません。",
      link: "カードを連携する",
      linkAnother: "別のカードも連携する",
      relink: "カードを替える（再連携）",
      unlink: "連携を解除する",
      reason: "解除の理由",
      reasons: { patron_request: "本人の希望", card_lost: "カードの紛失・盗難", mistake: "誤って連携した" },
      unlinked: "連携を解除しました。",
      consent: "連携の前に、利用者に読んでもらってください。",
      agreed: "利用者は読んで同意しました。",
      representative: "15歳未満の方の連携（法定代理人）は、ブリッジの管理画面で行ってください。",
      start: "カードを待つ",
      cardnumber: "利用者カードの番号",
      signIn: "ログインする",
      signInWhy: "カード読み取り機を使うには、ブリッジへのログインが必要です。",
      signInBlocked: "ログインの画面を開けませんでした。ポップアップを許可してください。",
      lost: "ブリッジに接続できません。通信を確かめて、もう一度お試しください。",
      "plugin-not-configured": "プラグインが設定されていません。管理者にお知らせください。",
      "plugin-not-authenticated": "プラグインの設定に誤りがあります。管理者にお知らせください。",
      "librarian-not-found": "あなたのKohaアカウントは、ブリッジの職員に結び付けられていません。管理者にお知らせください。",
      "not-allowed": "あなたのアカウントでは、窓口の操作はできません。",
      "koha-session": "Kohaのログインが切れたか、貸出の権限がありません。ページを読み込み直してください。",
    },
    en: {
      card: "My Number Card",
      who: "Identify a patron by My Number Card",
      links: "Links of My Number Cards",
      close: "Close",
      cancel: "Cancel",
      again: "Again",
      otherTerminal: "Use another terminal",
      terminal: "Terminal where the card is laid",
      terminalAt: "Terminal: ",
      noTerminal: "No counter terminal is registered. Please tell the administrator.",
      next: "Next",
      asking: "Asking…",
      notLinked: "No card is linked.",
      link: "Link a card",
      linkAnother: "Link a further card",
      relink: "Replace by another card",
      unlink: "End the link",
      reason: "Why the link ends",
      reasons: { patron_request: "The patron wishes it", card_lost: "The card is lost or stolen", mistake: "Linked by mistake" },
      unlinked: "The link has ended.",
      consent: "Before the card is linked, please let the patron read this.",
      agreed: "The patron has read this and agrees.",
      representative: "For a child under 15, a legal representative links the card in the bridge's admin.",
      start: "Wait for the card",
      cardnumber: "Library card number",
      signIn: "Log in",
      signInWhy: "To use the card reader, please log in to the bridge.",
      signInBlocked: "The log-in window could not be opened. Please allow pop-up windows.",
      lost: "The bridge cannot be reached. Please check the network and try again.",
      "plugin-not-configured": "The plugin is not configured. Please tell the administrator.",
      "plugin-not-authenticated": "The plugin is not set up right. Please tell the administrator.",
      "librarian-not-found": "The bridge does not know which member of staff your Koha account is. Please tell the administrator.",
      "not-allowed": "Your account may not work at the counter.",
      "koha-session": "You are logged out of Koha, or may not check out. Please load the page again.",
    },
  };
  const language = document.documentElement.lang.toLowerCase().startsWith("ja") ? "ja" : "en";
  const words = WORDS[language];

  const STYLE = `
    #mnc-dialog { width: min(34rem, 94vw); padding: 1.2rem 1.5rem; border: 1px solid #4a5468; border-radius: 8px; color: #1b2233; background: #fff; font-size: 1rem; line-height: 1.6; text-align: left; }
    #mnc-dialog::backdrop { background: rgba(20, 28, 48, .5); }
    #mnc-dialog h2 { margin: 0 0 .8rem; font-size: 1.2rem; color: #172a55; }
    #mnc-dialog p, #mnc-dialog ul { margin: 0 0 .8rem; }
    #mnc-dialog li { white-space: pre-line; }
    #mnc-dialog label { display: block; margin: 0 0 .8rem; font-weight: bold; }
    #mnc-dialog select, #mnc-dialog input[type="text"] { display: block; width: 100%; min-height: 2.5rem; font: inherit; font-weight: normal; }
    #mnc-dialog button, .mnc-button { min-height: 2.2rem; margin: 0 .5rem .5rem 0; padding: .3rem .9rem; font: inherit; color: #172a55; background: #fff; border: 1px solid #4a5468; border-radius: 5px; cursor: pointer; }
    #mnc-dialog button.mnc-first { color: #fff; background: #223a70; border-color: #223a70; font-weight: bold; }
    #mnc-dialog :focus-visible, .mnc-button:focus-visible { outline: 3px solid #0b57d0; outline-offset: 2px; }
    #mnc-status { margin: 0 0 .8rem; padding: .7rem 1rem; border-left: 6px solid #223a70; background: #e6ebf6; }
    #mnc-status:empty { display: none; }
    #mnc-status.mnc-success { border-color: #17643a; background: #e3f3e9; color: #17643a; }
    #mnc-status.mnc-warning { border-color: #7a4d00; background: #fdf1d8; color: #7a4d00; }
    #mnc-status.mnc-danger { border-color: #a3201c; background: #fbe9e7; color: #a3201c; }
    #mnc-status p:last-child { margin: 0; }
    .mnc-link { margin: 0 0 .8rem; padding: .6rem .8rem; border: 1px solid #c6ccd8; border-radius: 6px; }
    .mnc-link p { font-weight: bold; }
  `;

  // --- elements: text is only ever set as text

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  const button = (text, act, className = "") =>
    element("button", { type: "button", textContent: text, onclick: act, className });

  // --- refusals

  class Problem extends Error {} // its message is for the librarian

  async function send(url, options) {
    let response;
    try {
      response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE), ...options });
    } catch {
      throw new Problem(words.lost);
    }
    const isJson = /json/.test(response.headers.get("Content-Type") ?? "");
    const body = isJson ? await response.json().catch(() => null) : null;
    return { status: response.status, ok: response.ok, body };
  }

  // --- the librarian's token

  let pass = null; // { token, until } of the plugin: gone with the page, so that it is never a colleague's

  async function passOfPlugin() {
    if (pass && Date.now() < pass.until) return pass.token;
    const { status, ok, body } = await send(passRoute, { method: "POST", credentials: "same-origin" });
    if (!ok) {
      const isKohas = status === 401 || (status === 403 && !(body?.error in words));
      throw new Problem(isKohas ? words["koha-session"] : words[body?.error] ?? words.lost);
    }
    pass = { token: body.token, until: Date.now() + (body.expires_in - 30) * 1000 };
    return pass.token;
  }

  function keptPass() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEPT_PASS));
      return kept && Date.now() < kept.until ? kept.token : null;
    } catch {
      return null;
    }
  }

  function passOfWindow() {
    const kept = keptPass();
    if (kept) return Promise.resolve(kept);
    return new Promise((resolve) => {
      const open = button(words.signIn, () => openWindow(resolve), "mnc-first");
      show(element("p", { textContent: words.signInWhy }), open, closeButton());
      open.focus();
    });
  }

  function openWindow(resolve) {
    const { origin } = new URL(bridge);
    const address = `${bridge}/admin/desk/?origin=${encodeURIComponent(location.origin)}`;
    const opened = window.open(address, "koha-jpki-desk", "popup,width=480,height=640");
    if (!opened) return tell("danger", words.signInBlocked);
    const listen = (event) => {
      if (event.origin !== origin || event.source !== opened || event.data?.type !== "koha-jpki-desk") return;
      window.removeEventListener("message", listen);
      const { token, expiresAt } = event.data;
      sessionStorage.setItem(KEPT_PASS, JSON.stringify({ token, until: Date.parse(expiresAt) }));
      resolve(token);
    };
    window.addEventListener("message", listen, { signal: session.signal });
    return undefined;
  }

  function forgetPass() {
    pass = null;
    sessionStorage.removeItem(KEPT_PASS);
  }

  // --- the bridge

  async function ask(method, path, body, { isSecondTry = false, outlivesPage = false } = {}) {
    const token = await (passRoute ? passOfPlugin() : passOfWindow());
    const headers = { Authorization: `Bearer ${token}`, "Accept-Language": language };
    if (body) headers["Content-Type"] = "application/json";
    const answer = await send(`${bridge}/api/v1/desk${path}`, {
      method,
      headers,
      body: body && JSON.stringify(body),
      credentials: "omit",
      keepalive: outlivesPage,
      referrerPolicy: "no-referrer",
    });
    if (answer.status === 401 && !isSecondTry) {
      forgetPass();
      return ask(method, path, body, { isSecondTry: true });
    }
    if (!answer.ok) throw new Problem(answer.body?.title ?? words.lost);
    return answer.body;
  }

  // --- the dialog. One at a time; whoever closes it takes back what is still waiting.

  let dialog, title, status, content, session;
  let waiting = null; // the order that still waits for a card

  function build() {
    title = element("h2", { id: "mnc-title" });
    status = element("div", { id: "mnc-status" });
    status.setAttribute("role", "status");
    content = element("div");
    dialog = element("dialog", { id: "mnc-dialog" }, title, status, content);
    dialog.setAttribute("aria-labelledby", "mnc-title");
    dialog.addEventListener("close", () => {
      session.abort();
      takeBack();
    });
    document.body.append(dialog);
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  }

  const closeButton = (text = words.close) => button(text, () => dialog.close());

  function show(...children) {
    content.replaceChildren(...children);
  }

  function tell(tone, ...sentences) {
    const said = sentences.join("\n");
    if (status.dataset.said === said) return; // a screen reader speaks only what is new
    status.dataset.said = said;
    status.className = `mnc-${tone}`;
    status.replaceChildren(...sentences.map((sentence) => element("p", { textContent: sentence })));
  }

  // Open the dialog and work in it; what goes wrong is said there, with the way to try again.
  async function work(heading, steps) {
    if (dialog.open) return;
    session = new AbortController();
    const { signal } = session;
    title.textContent = heading;
    tell("waiting");
    show(closeButton());
    dialog.showModal();
    await attempt(steps, signal);
  }

  async function attempt(steps, signal = session.signal) {
    tell("waiting", words.asking);
    try {
      await steps(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      tell("danger", error.message);
      show(button(words.again, () => attempt(steps, signal), "mnc-first"), closeButton());
    }
  }

  async function takeBack() {
    if (!waiting) return;
    const path = `/requests/${waiting}/cancellation`;
    waiting = null;
    await ask("POST", path, null, { outlivesPage: true }).catch(() => {}); // it ends by itself after five minutes
  }

  // --- at which reader

  async function chooseTerminal(desk) {
    if (desk.terminals.length === 0) throw new Problem(words.noTerminal);
    const kept = localStorage.getItem(KEPT_TERMINAL);
    const known = desk.terminals.find((each) => each.terminal_id === kept);
    if (desk.terminals.length === 1) return desk.terminals[0];
    return known ?? askTerminal(desk);
  }

  function askTerminal(desk) {
    return new Promise((resolve) => {
      const options = desk.terminals.map((each) => element("option", { value: each.terminal_id, textContent: each.name }));
      const choice = element("select", {}, ...options);
      const go = () => {
        localStorage.setItem(KEPT_TERMINAL, choice.value);
        resolve(desk.terminals.find((each) => each.terminal_id === choice.value));
      };
      tell("waiting");
      show(element("label", { textContent: words.terminal }, choice), button(words.next, go, "mnc-first"), closeButton());
      choice.focus();
    });
  }

  // --- following an order to its end

  const pause = () => new Promise((resolve) => setTimeout(resolve, INTERVAL));

  async function follow(order, desk, terminal, restart) {
    waiting = order.request_id;
    const another = button(words.otherTerminal, async () => {
      localStorage.removeItem(KEPT_TERMINAL);
      await takeBack();
      restart();
    });
    show(
      element("p", { textContent: words.terminalAt + terminal.name }),
      ...(desk.terminals.length > 1 ? [another] : []),
      closeButton(words.cancel),
    );
    let seen = order;
    while (seen.is_open && waiting === order.request_id) {
      tell(seen.tone, seen.headline, ...seen.details);
      await pause();
      if (waiting !== order.request_id) break;
      seen = await ask("GET", `/requests/${order.request_id}`).catch((error) => {
        tell("warning", error.message); // the network may be back at the next question
        return seen;
      });
    }
    if (waiting !== order.request_id) return null; // taken back, or another one meanwhile
    waiting = null;
    tell(seen.tone, seen.headline, ...seen.details);
    return seen;
  }

  // --- whose card is it

  const identify = () => work(words.who, identification);

  async function identification(signal) {
    const desk = await ask("GET", "");
    const terminal = await chooseTerminal(desk);
    if (signal.aborted) return;
    const order = await ask("POST", "/identifications", { terminal_id: terminal.terminal_id });
    if (signal.aborted) return abandon(order);
    const end = await follow(order, desk, terminal, () => attempt(identification, signal));
    if (!end) return;
    if (end.state !== "completed") return offerAgain(identification, signal);
    const { cardnumber } = await ask("POST", `/requests/${order.request_id}/patron`);
    if (signal.aborted) return;
    dialog.close();
    checkOut(cardnumber);
  }

  function abandon(order) {
    waiting = order.request_id;
    takeBack();
  }

  function offerAgain(steps, signal) {
    const again = button(words.again, () => attempt(steps, signal), "mnc-first");
    show(again, closeButton());
    again.focus();
  }

  function checkOut(cardnumber) {
    const box = document.getElementById("findborrower");
    box.value = cardnumber;
    box.form.requestSubmit();
  }

  // --- the links of one patron

  const borrowernumber = () => {
    const inPage = document.querySelector("#borrowernumber, input[name='borrowernumber']")?.value;
    const number = new URLSearchParams(location.search).get("borrowernumber") ?? inPage ?? "";
    return /^[0-9]+$/.test(number) ? number : null;
  };

  // Koha is asked; where the librarian may not read patrons there, the library card is scanned.
  async function cardnumberOfPage() {
    const { ok, body } = await send(`/api/v1/patrons/${borrowernumber()}`, { credentials: "same-origin" });
    if (ok && body?.cardnumber) return body.cardnumber;
    return new Promise((resolve) => {
      const box = element("input", { type: "text", autocomplete: "off", maxLength: 32 });
      const go = (event) => {
        event.preventDefault();
        const typed = box.value.normalize("NFKC").trim();
        if (typed) resolve(typed);
      };
      tell("waiting");
      const label = element("label", { textContent: words.cardnumber }, box);
      const next = element("button", { type: "submit", textContent: words.next, className: "mnc-first" });
      show(element("form", { onsubmit: go }, label, next, closeButton()));
      box.focus();
    });
  }

  const manage = () => work(words.links, async (signal) => {
    const cardnumber = await cardnumberOfPage();
    if (!signal.aborted) await listLinks(cardnumber, signal);
  });

  async function listLinks(cardnumber, signal) {
    const patron = await ask("POST", "/patron", { cardnumber });
    if (signal.aborted) return;
    const start = (replaces) => attempt(() => linking(cardnumber, replaces, signal), signal);
    const rows = patron.links.map((link) =>
      element("div", { className: "mnc-link" },
        element("p", { textContent: link.words }),
        ...(patron.problem ? [] : [button(words.relink, () => start(link.link_id))]),
        button(words.unlink, () => askReason(cardnumber, link, signal)),
      ));
    const isLinked = rows.length > 0;
    if (patron.problem) tell("warning", patron.problem_words);
    else tell("waiting", ...(isLinked ? [] : [words.notLinked]));
    const link = button(isLinked ? words.linkAnother : words.link, () => start(null), isLinked ? "" : "mnc-first");
    show(...rows, ...(patron.problem ? [] : [link]), closeButton());
  }

  async function linking(cardnumber, replaces, signal) {
    const desk = await ask("GET", "");
    if (!(await agree(desk)) || signal.aborted) return;
    const terminal = await chooseTerminal(desk);
    if (signal.aborted) return;
    const order = await ask("POST", "/links", {
      terminal_id: terminal.terminal_id,
      cardnumber,
      consent_version: desk.consent_version,
      ...(replaces ? { replaces } : {}),
    });
    if (signal.aborted) return abandon(order);
    const again = () => linking(cardnumber, replaces, signal);
    const end = await follow(order, desk, terminal, () => attempt(again, signal));
    if (!end) return;
    if (end.state !== "completed") return offerAgain(again, signal);
    const back = closeButton();
    show(back);
    back.focus();
  }

  function agree(desk) {
    return new Promise((resolve) => {
      const tick = element("input", { type: "checkbox", required: true });
      const go = (event) => {
        event.preventDefault();
        resolve(true);
      };
      tell("waiting");
      const start = element("button", { type: "submit", textContent: words.start, className: "mnc-first" });
      show(
        element("p", { textContent: words.consent }),
        element("ul", {}, ...desk.consent.map((paragraph) => element("li", { textContent: paragraph }))),
        element("p", { textContent: words.representative }),
        element("form", { onsubmit: go }, element("label", {}, tick, ` ${words.agreed}`), start, closeButton(words.cancel)),
      );
      tick.focus();
    });
  }

  function askReason(cardnumber, link, signal) {
    const options = Object.entries(words.reasons).map(([value, textContent]) => element("option", { value, textContent }));
    const choice = element("select", {}, ...options);
    const end = () => attempt(async () => {
      await ask("POST", `/links/${link.link_id}/end`, { reason: choice.value });
      await listLinks(cardnumber, signal);
      tell("success", words.unlinked);
    }, signal);
    tell("waiting");
    show(element("label", { textContent: words.reason }, choice), button(words.unlink, end, "mnc-first"), closeButton(words.cancel));
    choice.focus();
  }

  // --- into the page

  function start() {
    const header = document.getElementById("findborrower");
    const toolbar = document.getElementById("toolbar");
    const isPatron = toolbar && borrowernumber() !== null;
    if (!header && !isPatron) return;
    build();
    if (header) {
      const inHeader = button(words.card, identify, "mnc-button");
      inHeader.id = "mnc-identify";
      inHeader.setAttribute("aria-keyshortcuts", "Alt+M");
      (document.getElementById("circ_search") ?? header.form).append(inHeader);
      document.addEventListener("keydown", (event) => {
        if (event.code !== SHORTCUT || !event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        identify();
      });
    }
    if (isPatron) {
      const inToolbar = button(words.card, manage, "btn btn-default");
      inToolbar.id = "mnc-links";
      toolbar.append(element("div", { className: "btn-group" }, inToolbar));
    }
    window.addEventListener("pagehide", takeBack);
    document.addEventListener("click", (event) => {
      if (event.target.closest?.("a[href*='logout.x']")) forgetPass(); // who logs out of Koha, logs out here
    }, true);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
