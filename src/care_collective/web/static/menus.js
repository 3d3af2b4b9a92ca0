// Esc closes what a button has opened, the innermost first, and gives the focus back to it. Without this its button does.

const OPENED = ":is(.menu, .confirm, .rest > details)[open]";
const MENUS = ":is(.menu, .rest > details)[open]";

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || event.isComposing) {
    return;
  }
  const opened = event.target.closest(OPENED) ?? document.querySelector(MENUS);
  if (opened) {
    event.preventDefault();
    opened.open = false;
    opened.querySelector("summary").focus();
  }
});
