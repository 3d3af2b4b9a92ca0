// Shows what the site sends to this browser while no page of it may be open, and leads to what it is about.

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
