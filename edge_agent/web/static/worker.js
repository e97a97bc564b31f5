// Keeps the page itself at hand, so that an installed pager opens while the site's network is away.

const CACHE = "pager-1";
const SHELL = ["/", "/static/common.css", "/static/pager.css", "/static/pager.js", "/icon.svg", "/manifest.webmanifest"];

self.addEventListener("install", (event) => event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(SHELL)).then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !SHELL.includes(new URL(event.request.url).pathname)) return;
  event.respondWith(fetch(event.request).then((answer) => {
    if (answer.ok) { const copy = answer.clone(); caches.open(CACHE).then((cache) => cache.put(event.request, copy)); }
    return answer;
  }).catch(() => caches.match(event.request)));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.matchAll({ type: "window" }).then(([open]) => (open ? open.focus() : self.clients.openWindow("/"))));
});
