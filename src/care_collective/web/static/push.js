// Turns notices on this device on and off, in the settings. Without it, or in a browser that knows none, the section
// stays hidden and letters come.

const section = document.querySelector("[data-push]");
const { key, known } = section.dataset;
const { member } = document.querySelector("script[data-member]").dataset;
const button = section.querySelector("button");
const said = section.querySelector("[role=status]");
const words = Object.fromEntries(
  [...section.querySelector("template").content.children].map((one) => [one.dataset.for, one.textContent]),
);
let on = false;

const encoded = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const decoded = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));

async function subscribed() {
  const registration = await navigator.serviceWorker.getRegistration("/");
  return (await registration?.pushManager.getSubscription()) ?? null;
}

// What another key signed for is of no use any more.
const isOurs = (one) => !one.options?.applicationServerKey || encoded(one.options.applicationServerKey) === key;

// Whether this browser tells whoever looks at this page, and not somebody who sat here before.
async function isOn(one) {
  if (!one || !isOurs(one)) {
    return false;
  }
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(one.endpoint));
  return known.split(" ").includes([...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, "0")).join(""));
}

// push-out.js looks for it when somebody signs out, or somebody else is there.
function mark(value) {
  try {
    if (value) {
      localStorage.setItem("care-push", member);
    } else {
      localStorage.removeItem("care-push");
    }
  } catch {
    // no storage: the push service tells the server when this browser is gone
  }
}

function show(state) {
  said.textContent = words[state];
  button.textContent = on ? words["turn-off"] : words["turn-on"];
  button.hidden = state === "denied";
}

async function call(method, body) {
  const answer = await fetch("/api/messaging/push", {
    method,
    headers: {
      "Content-Type": "application/json",
      "X-CSRF-Token": document.querySelector("[name=csrf_token]").value,
    },
    body: JSON.stringify(body),
  });
  if (!answer.ok) {
    throw new Error(`HTTP ${answer.status}`);
  }
}

async function turnOn() {
  const permission = await Notification.requestPermission();
  if (permission !== "granted") {
    show(permission === "denied" ? "denied" : "off");
    return;
  }
  await navigator.serviceWorker.register("/push-worker.js", { scope: "/" });
  const { pushManager } = await navigator.serviceWorker.ready;
  let one = await pushManager.getSubscription();
  if (one && !isOurs(one)) {
    await one.unsubscribe();
    one = null;
  }
  one ??= await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: decoded(key) });
  const { p256dh, auth } = one.toJSON().keys;
  await call("POST", { endpoint: one.endpoint, p256dh: p256dh.replaceAll("=", ""), auth: auth.replaceAll("=", "") });
  on = true;
  mark(true);
  show("on");
}

// Here first: whatever becomes of the call, this browser is told nothing more, and the server hears that it is gone.
async function turnOff() {
  const one = await subscribed();
  await one?.unsubscribe();
  on = false;
  mark(false);
  show("off");
  await call("DELETE", { endpoint: one?.endpoint ?? "" }).catch(() => {});
}

async function start() {
  on = await isOn(await subscribed());
  show(on ? "on" : Notification.permission === "denied" ? "denied" : "off");
  button.addEventListener("click", async () => {
    button.setAttribute("aria-busy", "true");
    await (on ? turnOff() : turnOn()).catch(() => show("failed"));
    button.removeAttribute("aria-busy");
  });
  section.hidden = false;
}

if ("serviceWorker" in navigator && "PushManager" in globalThis && "Notification" in globalThis) {
  start();
}
