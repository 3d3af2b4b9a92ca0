// Keeps what is typed until it is sent, in this tab alone, and says when a text nears its limit. Forms work without it.

const KEPT = "care:";
const NEAR = 0.9;

const store = {
  read(name) {
    try {
      return JSON.parse(sessionStorage.getItem(KEPT + name));
    } catch {
      return null; // no storage, or not ours: nothing is kept
    }
  },
  write(name, value) {
    try {
      if (value === null) {
        sessionStorage.removeItem(KEPT + name);
      } else {
        sessionStorage.setItem(KEPT + name, JSON.stringify(value));
      }
    } catch {
      // no storage, or a full one: what is typed still stands in the page
    }
  },
};

// As the server counts (contract.md, Text): code points, without white space at either end.
const trimmed = (text) => text.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "");
const length = (text) => [...trimmed(text)].length;
const filled = (sentence, values) => sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);

let region = null;

// Says something to screen readers, politely and once.
function announce(words) {
  if (!region) {
    region = document.createElement("p");
    region.className = "unseen";
    region.setAttribute("aria-live", "polite");
    document.querySelector("main").append(region);
  }
  region.textContent = words;
}

function grow(field) {
  if (!CSS.supports("field-sizing", "content")) {
    field.style.blockSize = "auto";
    field.style.blockSize = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
  }
}

function counting(form, field) {
  const limit = Number(field.dataset.limit);
  const counter = document.createElement("p");
  counter.className = "counter";
  counter.hidden = true;
  (field.closest(".composer-row") ?? field).after(counter);
  let told = "";
  let rest = 0;
  let marked = false;
  return () => {
    const count = length(field.value);
    const over = count - limit;
    counter.hidden = count < NEAR * limit;
    counter.classList.toggle("over", over > 0);
    const words = counter.hidden ? "" : filled(over > 0 ? form.dataset.over : form.dataset.count, { count, limit, over });
    counter.textContent = words;
    field.setCustomValidity(over > 0 ? words : ""); // named, never cut: what is typed or pasted stays
    if (marked !== over > 0) {
      marked = over > 0;
      marked ? field.setAttribute("aria-invalid", "true") : field.removeAttribute("aria-invalid");
    }
    clearTimeout(rest);
    // Said when typing rests, so that it does not talk into every letter.
    rest = setTimeout(() => words !== told && announce((told = words)), 800);
  };
}

const fieldsOf = (form) => [...form.querySelectorAll("textarea, select, input[type=text]")];

function watch(form) {
  const name = form.dataset.draft;
  const fields = fieldsOf(form);
  const counters = new Map(fields.filter((one) => one.dataset.limit).map((one) => [one, counting(form, one)]));
  const shown = (field) => {
    counters.get(field)?.();
    if (field.matches("textarea")) {
      grow(field);
    }
  };
  const keep = (submitted = false) => {
    const words = Object.fromEntries(fields.map((one) => [one.name, one.value]));
    const typed = fields.some((one) => !one.matches("select") && one.value !== "");
    store.write(name, typed ? { words, submitted } : null);
  };
  const restore = () => {
    const words = store.read(name)?.words ?? {};
    // What the server shows again was typed later than what is kept here.
    if (fields.every((one) => one.matches("select") || one.value === "")) {
      for (const one of fields.filter((field) => field.name in words)) {
        one.value = words[one.name];
      }
    }
    fields.forEach(shown);
  };
  form.addEventListener("input", (event) => {
    shown(event.target);
    keep();
  });
  form.addEventListener("submit", (event) => event.defaultPrevented || keep(true));
  restore();
}

// A form that led here has been sent. What was typed into it since then has not.
for (const one of document.querySelectorAll("[data-sent]")) {
  if (store.read(one.dataset.sent)?.submitted) {
    store.write(one.dataset.sent, null);
  }
}

function forget() {
  try {
    Object.keys(sessionStorage).filter((name) => name.startsWith(KEPT)).forEach((name) => sessionStorage.removeItem(name));
  } catch {
    // no storage, so nothing to forget
  }
}

// Who signs out, or has deleted their account, leaves nothing behind, in no tab.
const tabs = "BroadcastChannel" in globalThis ? new BroadcastChannel("care") : null;
tabs?.addEventListener("message", (event) => event.data === "signed out" && forget());
const leave = () => {
  forget();
  tabs?.postMessage("signed out");
};
document.querySelector("form[action='/sign-out']")?.addEventListener("submit", leave);
if (document.querySelector("[data-gone]")) {
  leave();
}

document.querySelectorAll("form[data-draft]").forEach(watch);
// live.js has made the composer's place anew.
document.addEventListener("care:composer", () => document.querySelectorAll(".composer form[data-draft]").forEach(watch));

export { announce, filled, store, trimmed };
