// Shows what the site sends to this browser while no page of it may be open, leads to what it is about, and tells the
// site when the browser's address is another one.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

// A browser takes the right away from who shows nothing: what cannot be read is shown as the site's name.
function read(event) {
  try {
    return event.data.json();
  } catch {
    return { title: self.location.hostname, body: "", path: "/", tag: "/", lang: "" };
  }
}

self.addEventListener("push", (event) => {
  const { title, body, path, tag, lang } = read(event);
  event.waitUntil(self.registration.showNotification(title, { body, tag, lang, renotify: true, data: { path } }));
});

// To a page of this site, whatever was sent.
function target(path) {
  const home = new URL("/", self.location.origin);
  try {
    const url = new URL(path, home);
    return url.origin === home.origin ? url.href : home.href;
  } catch {
    return home.href;
  }
}

async function open(url) {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = pages.find((page) => page.url === url);
  await (there ? there.focus() : self.clients.openWindow(url));
}

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(target(event.notification.data?.path ?? "/")));
});

async function digest(text) {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
}

async function answer(path, request) {
  const got = await fetch(path, request);
  if (!got.ok) {
    throw new Error(`HTTP ${got.status}`);
  }
  return got.json();
}

// The browser's address at its push service is another one. Who is signed in here takes it over, where the old one was
// theirs; some browsers do not say which that was. Else nobody: the site finds the old one gone, and letters come.
async function moved(old, given) {
  const { key, subscriptions } = await answer("/api/messaging/push");
  const was = old && (await digest(old.endpoint));
  if (!key || !subscriptions.some((one) => !was || one.digest === was)) {
    return;
  }
  const { pushManager } = self.registration;
  const one = given ?? (await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key }));
  const { csrf_token } = await answer("/api/auth/me");
  const { p256dh, auth } = one.toJSON().keys;
  await answer("/api/messaging/push", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf_token },
    body: JSON.stringify({ endpoint: one.endpoint, p256dh: p256dh.replaceAll("=", ""), auth: auth.replaceAll("=", "") }),
  });
}

self.addEventListener("pushsubscriptionchange", (event) => {
  event.waitUntil(moved(event.oldSubscription, event.newSubscription).catch(() => {}));
});
