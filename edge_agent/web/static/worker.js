// Keeps the page itself at hand, so that an installed pager opens while the site's network is away.

const CACHE = "pager-6";
const SHELL = [
  "/",
  "/static/common.css",
  "/static/pager.css",
  "/static/common.js",
  "/static/missed.js",
  "/static/pager.js",
  "/static/records.js",
  "/static/shift.js",
  "/static/text.js",
  "/static/watching.js",
  "/static/words.js",
  "/text.json",
  "/icon.svg",
  "/manifest.webmanifest",
];

async function keepShell() {
  const cache = await caches.open(CACHE);
  await cache.addAll(SHELL);
  await self.skipWaiting();
}

async function answer(request) {
  try {
    const fresh = await fetch(request);
    if (fresh.ok) {
      const copy = fresh.clone();
      caches.open(CACHE).then((cache) => cache.put(request, copy));
    }
    return fresh;
  } catch {
    return caches.match(request);
  }
}

async function openPager() {
  const [open] = await self.clients.matchAll({ type: "window" });
  return open ? open.focus() : self.clients.openWindow("/");
}

self.addEventListener("install", (event) => event.waitUntil(keepShell()));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !SHELL.includes(new URL(event.request.url).pathname)) return;
  event.respondWith(answer(event.request));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(openPager());
});
