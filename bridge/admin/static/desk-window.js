// Hands the librarian's token to the page of Koha that opened this window, and closes it. The browser
// gives the message to no page of another origin.
"use strict";

const opened = document.getElementById("opened");

if (window.opener) {
  const { token, expiresAt, origin } = opened.dataset;
  window.opener.postMessage({ type: "koha-jpki-desk", token, expiresAt }, origin);
  window.close();
}
