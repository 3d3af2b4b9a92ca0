// Sends messages without leaving the thread: each under a key of its own, in order, again after a lost answer, never
// twice. Without it the form sends itself; what is typed and not sent yet is kept by drafts.js.

import { announce, filled, store, trimmed } from "./drafts.js";

const LONGEST = 20; // seconds that an answer may take
const TRIES = 5; // until somebody is asked
const SLOWEST = 30; // seconds between two tries
const QUIET = 2; // seconds in which sending is not announced

const { member, thread } = document.querySelector(".composer[data-thread]").dataset;
const log = document.querySelector(".log");
const kept = `${member}/queue/${thread}`;
const draft = `${member}/messages/${thread}`;
const at = location.pathname;
const url = `/api/messaging/conversations/${thread}/messages`;
const words = Object.fromEntries(
  [...document.querySelector("#pending-words").content.children].map((one) => [one.dataset.for, one.textContent]),
);
const PASSING = ["failed", "signed_out", "another", "later"];
const UNTRIED = { why: undefined, tries: 0, renewed: false, mended: false };
const ICONS = { sending: "clock", sent: "check", queued: "clock", waiting: "pause", busy: "pause" };

// What waits to be sent, the oldest first: key, text, and in `why` what keeps it from being tried again by itself.
const queue = store.read(kept) ?? [];
const bubbles = new Map();
let form = null; // none where nothing can be written
let field = null;
let busy = false;
let leaving = false;
let wake = () => {};

const pending = document.querySelector("#pending") ?? log.appendChild(document.createElement("div"));
pending.id = "pending";
pending.setAttribute("aria-live", "off"); // each state is announced, once
const banner = document.createElement("p");
banner.className = "offline";
banner.setAttribute("aria-live", "polite");
log.before(banner);

// What was refused is not sent by itself another day; what only failed to arrive is, when the page is opened anew.
function save() {
  const rest = queue.filter((one) => !one.draft);
  const again = (why) => (PASSING.includes(why) ? undefined : why);
  const unsent = rest.map(({ key, text, after, why }) => ({ key, text, after, why: again(why) }));
  store.write(kept, rest.length ? unsent : null);
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing where there is no TLS
  return `${member}.${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// A key is used for one text alone: the next one gets another.
function nextKey() {
  const key = form.elements.key.value;
  form.elements.key.value = randomKey();
  return key;
}

function bubbleOf(one) {
  if (!bubbles.has(one)) {
    const bubble = document.querySelector("#pending-one").content.firstElementChild.cloneNode(true);
    bubble.querySelector("[dir]").textContent = one.text;
    for (const [name, does] of Object.entries({ again, change, remove: discard })) {
      bubble.querySelector(`[name=${name}]`).addEventListener("click", () => does(one));
    }
    bubble.querySelector("a").addEventListener("click", () => (leaving = true));
    pending.append(bubble);
    bubbles.set(one, bubble);
  }
  return bubbles.get(one);
}

// A state in words and by an icon. What is wrong comes with what can be done.
function show(one, state, values = {}) {
  const bubble = bubbleOf(one);
  if (bubble.dataset.state === state) {
    return;
  }
  const sentence = filled(words[state], values);
  const failed = !(state in ICONS);
  bubble.dataset.state = state;
  bubble.hidden &&= !failed;
  bubble.querySelector(".icon").className = `icon icon-${ICONS[state] ?? "alert"}`;
  bubble.querySelector(".stamp span:last-child").textContent = sentence;
  bubble.querySelector(".actions").hidden = !failed;
  bubble.querySelector("[name=again]").hidden = !form || state === "signed_out" || state === "another";
  bubble.querySelector("[name=change]").hidden = !form;
  bubble.querySelector("[name=remove]").hidden = Boolean(form);
  bubble.querySelector(".actions a").hidden = state !== "signed_out" && state !== "another";
  clearTimeout(one.quiet);
  if (state === "sending") {
    one.quiet = setTimeout(() => announce(sentence), QUIET * 1000);
  } else if (state !== "queued") {
    announce(sentence);
  }
}

function remove(one) {
  queue.splice(queue.indexOf(one), 1);
  bubbles.get(one)?.remove();
  save();
  drain();
}

function discard(one) {
  if (one.draft) {
    store.write(draft, null);
  }
  remove(one);
  (field ?? log).focus();
}

function again(one) {
  Object.assign(one, UNTRIED);
  field.focus();
  wake();
  drain();
}

// Other words are another message: they go back to where they are written, and get another key when they are sent.
function change(one) {
  field.value = [one.text, field.value].filter((text) => text !== "").join("\n");
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.focus();
  remove(one);
}

function toEnd() {
  log.scrollTop = log.scrollHeight;
}

const inThread = () => [...log.querySelectorAll(".mine .bubble[data-seq]")];
const seqOf = (bubble) => Number(bubble.dataset.seq);
const lastSeq = () => Math.max(-1, ...inThread().map(seqOf));

// It stands in the thread when the stream has brought it, under its number; else what is shown here stays.
function settle() {
  for (const bubble of pending.querySelectorAll("[data-seq]")) {
    if (document.getElementById(`m-${bubble.dataset.seq}`)) {
      bubble.remove();
    }
  }
  // Written, and the answer still on its way or lost: shown once, and asked for now that there is a line.
  const [one] = queue;
  const said = (bubble) => seqOf(bubble) > one.after && bubble.querySelector("[dir]")?.textContent === trimmed(one.text);
  if (one && !one.why && bubbles.has(one) && !bubbles.get(one).hidden && inThread().some(said)) {
    bubbles.get(one).hidden = true;
    wake();
  }
}

async function pageNow() {
  const answer = await fetch(at, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { signedOut: answer.redirected || answer.status === 401, page };
}

// Where nothing keeps the thread alive, what has been written meanwhile is fetched.
async function refresh() {
  const { page } = await pageNow();
  const fresh = page.querySelector(".log");
  if (fresh && !queue.length) {
    fresh.querySelector("#pending")?.remove();
    pending.replaceChildren();
    log.replaceChildren(...fresh.childNodes, pending);
    toEnd();
  }
}

async function arrived(one, seq) {
  queue.shift();
  save();
  banner.textContent = "";
  show(one, "sent");
  bubbles.get(one).dataset.seq = seq;
  settle();
  if (!queue.length && !globalThis.htmx) {
    await refresh().catch(() => {}); // it is sent and shown: what else was written comes with the next page
  }
}

// The same form with a token that holds, where the same person has signed in again; else who is there now.
async function renewed() {
  const { signedOut, page } = await pageNow();
  const now = page.querySelector(".composer[data-thread]");
  if (signedOut) {
    return "signed_out";
  }
  if (now?.dataset.member !== member) {
    return "another";
  }
  const token = page.querySelector("[name=csrf_token]").value;
  document.querySelectorAll("[name=csrf_token]").forEach((one) => (one.value = token));
  document.querySelector("#stream")?.setAttribute("data-token", token);
  return null;
}

async function post(one) {
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "Idempotency-Key": one.key,
        "X-CSRF-Token": document.querySelector("[name=csrf_token]").value,
      },
      body: JSON.stringify({ content: one.text }),
      signal: AbortSignal.timeout(LONGEST * 1000),
    });
    // What is not JSON is not ours: a hotel's own page, a proxy's.
    return { status: answer.status, wait: Number(answer.headers.get("retry-after")), ...(await answer.json()) };
  } catch {
    return { status: 0 };
  }
}

const passes = (told) => [0, 408, 502, 503, 504].includes(told.status) || (told.status < 300 && !("seq" in told));

// Tries again by itself what passes by itself: later each time, and not all at the same moment.
async function wait(one, told) {
  const offline = told.status !== 503;
  one.tries = (one.tries ?? 0) + (navigator.onLine ? 1 : 0);
  if (one.tries >= TRIES) {
    one.why = "failed";
    return;
  }
  show(one, offline ? "waiting" : "busy");
  banner.textContent = offline ? words.offline : "";
  const seconds = Math.max(told.wait || 0, Math.min(SLOWEST, 2 ** one.tries) * (0.5 + Math.random() / 2));
  await new Promise((go) => {
    wake = go;
    setTimeout(go, (navigator.onLine ? seconds : SLOWEST) * 1000);
  });
}

// What is to be done about an answer that is no success: nothing, or a reason to ask the writer.
async function judge(one, told) {
  if (passes(told)) {
    await wait(one, told);
  } else if (told.status === 401 || told.reason === "csrf") {
    one.why = one.renewed ? "signed_out" : await renewed().catch(() => "failed");
    one.renewed = true;
  } else if (told.status === 422) {
    one.key = randomKey(); // used for other words before
    one.why = one.mended ? "failed" : undefined;
    one.mended = true;
  } else if (told.status === 429) {
    const time = new Date(Date.now() + (told.wait || 60) * 1000);
    one.when = time.toLocaleTimeString(document.documentElement.lang, { hour: "numeric", minute: "2-digit" });
    one.why = "later";
  } else {
    one.why = [told.reason, told.code].find((name) => name in words) ?? "failed";
  }
}

// The second waits for the first: what was written in an order arrives in it.
async function drain() {
  queue.filter((one) => one !== queue[0] && !one.why).forEach((one) => show(one, "queued"));
  if (busy || !queue.length) {
    return;
  }
  busy = true;
  while (queue.length && !queue[0].why) {
    const one = queue[0];
    show(one, "sending");
    const told = await post(one);
    if (told.status < 300 && "seq" in told) {
      one.why = undefined;
      await arrived(one, told.seq);
    } else {
      await judge(one, told);
      if (one.why) {
        show(one, one.why, { time: one.when });
      }
    }
    save();
  }
  busy = false;
}

function send(event) {
  event.preventDefault();
  const text = field.value;
  field.focus();
  // The second of two taps finds nothing; what is too long is said by the counter's words.
  if (trimmed(text) === "" || (field.validity.customError && !field.reportValidity())) {
    return;
  }
  queue.push({ key: nextKey(), text, after: lastSeq() });
  save();
  field.value = "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
  drain();
  toEnd();
}

function sendByKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
    form.requestSubmit();
  }
}

// What is in the queue is shown as this page can deal with it.
function mount() {
  form = document.querySelector(".composer form[data-draft]");
  field = form?.elements.content;
  if (form) {
    form.noValidate = true;
    form.addEventListener("submit", send);
    field.addEventListener("keydown", sendByKey);
    // The focus, and a phone's keyboard with it, stays where one writes.
    form.querySelector("button").addEventListener("mousedown", (event) => event.preventDefault());
    queue.filter((one) => one.draft).forEach(remove);
  } else {
    const shown = document.querySelector("#kept:not([hidden])"); // by live.js
    const typed = shown ? null : store.read(draft)?.words.content;
    queue.push(...(typed ? [{ text: typed, draft: true }] : []));
    queue.forEach((one) => (one.why ??= "refused")); // the page says why; the words can be copied
  }
  for (const one of queue.filter((found) => found.why)) {
    bubbleOf(one).dataset.state = "";
    show(one, one.why, { time: one.when });
  }
}

addEventListener("online", () => {
  banner.textContent = "";
  queue.filter((one) => one.why === "failed" && form).forEach((one) => Object.assign(one, UNTRIED));
  wake();
  drain();
});
addEventListener("offline", () => (banner.textContent = words.offline));
new MutationObserver(settle).observe(log, { childList: true, subtree: true });

// What is only typed, or was refused, stays in this tab: going on within the site asks nothing.
const waits = () => queue.some((one) => !one.why);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  leaving = Boolean(link && link.origin === location.origin && !waits()) || (leaving && link !== null);
});
addEventListener("submit", (event) => (leaving = !event.defaultPrevented && !waits()));
addEventListener("beforeunload", (event) => {
  if (!leaving && (queue.length || field?.value.trim())) {
    event.preventDefault();
  }
});

mount();
document.addEventListener("care:composer", mount); // live.js: the conversation has ended, or is open again
if (queue.length) {
  drain();
  toEnd();
}
