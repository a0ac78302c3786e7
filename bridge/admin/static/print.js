// The application form's one button. Without scripts the browser's own menu prints.
"use strict";

const button = document.getElementById("print");
button.hidden = false;
button.focus();
button.addEventListener("click", () => window.print());
