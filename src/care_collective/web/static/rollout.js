// Keeps the numbers of the rollout's page fresh. Without it the page has a link to refresh; what is typed is left alone.

const SECONDS = 5;
const stale = document.querySelector("#stale");
const movedOn = document.querySelector("#moved-on");
const said = document.querySelector("#said");
const parts = () => [...document.querySelectorAll("main [data-live]")];

function isTyping() {
  const fields = [...document.querySelectorAll("main textarea, main select")];
  return fields.some((one) =>
    one.matches("select") ? ![...one.options].every((o) => o.selected === o.defaultSelected) && one.selectedIndex > 0
      : one.value !== one.defaultValue);
}

// What is open stays open, and the focus stays where it was: both are found again by the id of their details.
function swap(part, fresh) {
  const open = new Set([...part.querySelectorAll("details[open]")].map((one) => one.id));
  const focused = part.contains(document.activeElement) ? document.activeElement.closest("details")?.id : null;
  part.replaceChildren(...fresh.childNodes);
  for (const one of part.querySelectorAll("details")) {
    one.open = open.has(one.id);
  }
  if (focused) {
    document.getElementById(focused)?.querySelector("summary").focus({ preventScroll: true });
  }
}

async function refresh() {
  const holder = document.activeElement?.closest("[data-live]");
  if (document.hidden || (holder && !document.activeElement.matches("summary")) || !getSelection().isCollapsed) {
    return;
  }
  const answer = await fetch("/operator/rollout/live", { redirect: "manual" });
  if (!answer.ok) {
    throw new Error(`answered ${answer.status}`); // 0: led to the sign-in form
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [before] = parts();
  const after = page.querySelector("[data-state]");
  if (before.dataset.state !== after.dataset.state) {
    if (!isTyping()) {
      location.replace("/operator/rollout"); // other forms go with another state
      return;
    }
    movedOn.hidden = false;
  }
  const sentence = document.querySelector("#how-it-stands").textContent;
  for (const part of parts()) {
    swap(part, page.querySelector(`[data-live="${part.dataset.live}"]`));
  }
  const now = document.querySelector("#how-it-stands").textContent;
  if (now !== sentence) {
    said.textContent = now;
  }
}

// Where an answer takes long, fewer are asked for: looking never takes more than a twentieth of the server's time.
function again(took) {
  setTimeout(async () => {
    const began = performance.now();
    try {
      await refresh();
      stale.hidden = true;
    } catch {
      stale.hidden = false;
    }
    again(performance.now() - began);
  }, Math.max(SECONDS * 1000, 20 * took));
}

again(0);
