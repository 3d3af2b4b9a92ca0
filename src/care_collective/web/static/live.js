// Keeps an open page alive, for what htmx leaves to the page: when its one stream is opened and closed, where messages
// join the thread, and what counts as read. Without it every page works by its links and forms.
//
// For other scripts: a message that has arrived stands in the thread as #m-<seq>, and the document hears `care:composer`
// when the composer's place was made anew.

const ENDED = [401, 403, 404]; // what time does not mend
const QUIET = 50_000; // milliseconds without a sign of life, which comes every 20 seconds
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15_000;
const PATIENCE = 3000; // until a lost line is told
const REST = 120_000; // until a page that nobody looks at gives its stream up: browsers open six to one host
const stream = document.querySelector("#stream");
const line = document.querySelector("#line");
const log = document.querySelector(".log");
const days = document.querySelector("#days");
const newest = document.querySelector("#newest");

let place = null; // the id of the last event, from which the next stream goes on
let heard = Date.now();
let pause = FIRST_PAUSE;
let over = false;
let away = false; // left, or out of sight for long
let resting = null;
let asked = false; // from the asking to the end of the answer
let opened = 0;
let waiting = null;
let worried = null;

// ---- the stream

function open() {
  clearTimeout(waiting);
  if (!over && !away && !asked) {
    heard = Date.now();
    stream.dispatchEvent(new Event("care:open"));
  }
}

const close = () => stream.dispatchEvent(new Event("htmx:abort"));

function say(id) {
  const words = id && document.getElementById(id).content.cloneNode(true);
  line.replaceChildren(...(words ? [words] : []));
}

function calm() {
  clearTimeout(worried);
  worried = null;
  say(null);
}

function end() {
  over = true;
  calm();
  say("line-ended");
  line.querySelector("a").search = new URLSearchParams({ next: location.pathname });
}

stream.addEventListener("htmx:config:request", ({ detail }) => {
  if (place !== null) {
    detail.ctx.request.headers["Last-Event-ID"] = place;
  }
});

stream.addEventListener("htmx:before:request", () => {
  asked = true;
});

stream.addEventListener("htmx:before:response", (event) => {
  const { status, headers } = event.detail.ctx.response;
  if (ENDED.includes(status)) {
    end();
  }
  if (!headers.get("Content-Type")?.includes("text/event-stream")) {
    event.preventDefault();
  }
});

stream.addEventListener("htmx:sse:after:connection", () => {
  heard = Date.now();
  pause = FIRST_PAUSE;
  calm();
  opened += 1;
  if (opened > 1) {
    stream.dispatchEvent(new Event("care:changed")); // what this page was not told meanwhile
    mark();
  }
});

stream.addEventListener("htmx:sse:before:message", () => {
  heard = Date.now();
});

stream.addEventListener("htmx:sse:close", ({ detail }) => {
  place = detail.connection.lastEventId || place;
});

// However it ended: refused, lost, closed by either side.
stream.addEventListener("htmx:finally:request", () => {
  asked = false;
  if (over || away) {
    return;
  }
  worried ??= setTimeout(() => say("line-lost"), PATIENCE);
  clearTimeout(waiting);
  waiting = setTimeout(open, pause * (1 + Math.random())); // not all pages of a restarted server at once
  pause = Math.min(2 * pause, LONGEST_PAUSE);
});

// After a sleep, or when the network is back: nobody waits for a pause to pass, and a dead line is not believed in.
function wake() {
  clearTimeout(resting);
  if (document.hidden) {
    resting = setTimeout(leave, REST);
    return;
  }
  away = false;
  pause = FIRST_PAUSE;
  doubt();
  setTimeout(open);
  mark();
}

function doubt() {
  if (asked && Date.now() - heard > QUIET) {
    close();
  }
}

function leave() {
  away = true;
  clearTimeout(waiting);
  calm();
  close();
}

addEventListener("online", wake);
document.addEventListener("visibilitychange", wake);
setInterval(doubt, 5000);
addEventListener("pagehide", leave);
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    wake();
  }
});

// What a page reads anew is taken as it is, or not at all: no refusal and no sign-in form takes the place of a part.
document.addEventListener("htmx:before:response", (event) => {
  const { raw } = event.detail.ctx.response;
  if (event.target !== stream && (!raw.ok || raw.redirected)) {
    event.preventDefault();
  }
});

// ---- what arrives

stream.addEventListener("htmx:before:swap", ({ detail }) => {
  const kept = detail.tasks.filter((task) => !taken(task.target, task.fragment.firstElementChild));
  detail.tasks.splice(0, detail.tasks.length, ...kept);
});

// Whether a part needs no swap: it says what stands there already, or is put in its place here.
function taken(target, fresh) {
  if (target.id === "days") {
    arrive(fresh.firstElementChild);
    return true;
  }
  if (target.id === "threads") {
    settle(target, fresh.firstElementChild);
    return true;
  }
  if (target.id === "composer" && target.dataset.state !== fresh.dataset.state) {
    replaceComposer(target, fresh);
    return true;
  }
  const same = fresh.dataset.state ? fresh.dataset.state === target.dataset.state : fresh.innerHTML === target.innerHTML;
  if (!same && target.id === "verbs") {
    decided = true;
    mark();
  }
  if (!same && target.contains(document.activeElement)) {
    log?.focus({ preventScroll: true }); // and not nowhere
  }
  return same;
}

// The words being written outlive the end of a conversation, and its coming back.
function replaceComposer(target, fresh) {
  const typed = target.querySelector("textarea")?.value ?? target.dataset.typed ?? "";
  const held = target.contains(document.activeElement);
  target.replaceWith(fresh);
  const field = fresh.querySelector("textarea");
  const kept = fresh.querySelector("#kept");
  if (field) {
    field.value ||= typed;
  } else if (typed) {
    fresh.dataset.typed = typed;
    if (kept) {
      kept.querySelector("blockquote").textContent = typed;
      kept.hidden = false;
    }
  }
  if (held) {
    (field ?? log).focus({ preventScroll: true });
  }
  document.dispatchEvent(new CustomEvent("care:composer"));
}

// A conversation's row goes where its last activity puts it, and keeps the focus.
function settle(list, fresh) {
  const old = document.getElementById(fresh.id);
  if (old ? old.outerHTML === fresh.outerHTML : !("all" in list.dataset)) {
    return;
  }
  if ("archived" in fresh.dataset && "all" in list.dataset) {
    old?.remove();
    return;
  }
  const focused = old?.contains(document.activeElement);
  if (old && old.dataset.at === fresh.dataset.at) {
    old.replaceWith(fresh);
  } else {
    old?.remove();
    list.insertBefore(fresh, [...list.children].find((one) => one.dataset.at < fresh.dataset.at) ?? null);
  }
  list.hidden = false;
  document.querySelector("#nothing")?.remove();
  if (focused) {
    fresh.querySelector("a").focus({ preventScroll: true });
  }
}

// ---- the thread

const seqOf = (bubble) => Number(bubble.dataset.seq);
const bubbles = () => [...days.querySelectorAll(".bubble")];

function isAtEnd() {
  const edge = Math.min(log.getBoundingClientRect().bottom, innerHeight);
  return days.getBoundingClientRect().bottom <= edge + 64;
}

let wasAtEnd = false; // before the log's own height changed

function toEnd() {
  wasAtEnd = true;
  bubbles().at(-1)?.scrollIntoView({ block: "end" });
  log.scrollTop = log.scrollHeight;
}

function arrive(day) {
  const bubble = day.querySelector(".bubble");
  if (document.getElementById(bubble.id)) {
    return;
  }
  if (!("whole" in days.dataset)) {
    newest.hidden = false; // this page ends before the newest
    return;
  }
  const follow = isAtEnd();
  document.getElementById("latest")?.removeAttribute("id");
  document.getElementById("mark")?.remove();
  append(day);
  if (follow) {
    toEnd();
    mark();
  } else {
    newest.hidden = false;
  }
}

function append(day) {
  const last = days.lastElementChild;
  const group = day.querySelector(".group");
  if (last?.dataset.day !== day.dataset.day) {
    for (const heading of days.querySelectorAll("h2")) {
      heading.textContent = heading.dataset.full; // today is over
    }
    days.append(day);
  } else if (last.lastElementChild.className === group.className) {
    last.lastElementChild.append(...group.querySelectorAll(".bubble"));
  } else {
    last.append(group);
  }
}

// ---- what counts as read

let marked = log ? Math.max(-1, ...bubbles().map(seqOf)) : -1; // the page itself was answered as read
let marking = null;
let decided = false; // what became of the offer is shown: what was told of it is read too

function mark() {
  if (!log || document.hidden || over || !("whole" in days.dataset) || !isAtEnd()) {
    return;
  }
  newest.hidden = true;
  marking ??= setTimeout(sendMark, 300);
}

async function sendMark() {
  marking = null;
  const shown = [...days.querySelectorAll(".theirs .bubble")].map(seqOf).at(-1) ?? -1;
  if ((shown <= marked && !decided) || document.hidden || !isAtEnd()) {
    return;
  }
  decided = false;
  const answer = await fetch(`/api/messaging/conversations/${stream.dataset.thread}/read`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": stream.dataset.token },
    body: JSON.stringify({ seq: Math.max(shown, marked, 0) }),
  }).catch(() => null); // told when the stream is back
  if (answer?.ok) {
    marked = Math.max(marked, shown);
  }
}

if (log) {
  let height = log.clientHeight;
  wasAtEnd = isAtEnd();
  const scrolled = () => {
    if (log.clientHeight === height) { // else nobody has scrolled
      wasAtEnd = isAtEnd();
    }
    mark();
  };
  log.addEventListener("scroll", scrolled, { passive: true });
  // A phone's keyboard or a line above takes of its height: the end stays in sight.
  new ResizeObserver(() => {
    height = log.clientHeight;
    if (wasAtEnd) {
      toEnd();
    }
  }).observe(log);
  addEventListener("scroll", mark, { passive: true });
  newest.addEventListener("click", () => {
    if (!("whole" in days.dataset)) {
      location.assign(`${location.pathname}#latest`);
      return;
    }
    toEnd();
    log.focus({ preventScroll: true });
    mark();
  });
}

// After htmx has looked at the page, which can be before its extension has come: it would not look at this again.
setTimeout(() => {
  stream.setAttribute("hx-sse:connect", stream.dataset.from);
  htmx.process(stream);
  open();
});
