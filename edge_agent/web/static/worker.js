// Keeps the page itself at hand, so that an installed pager opens while the site's network is away, and shows pages that
// come by Web Push while it is closed.

const CACHE = "pager-12";
const PATIENCE_MS = 5000;
const SHELL = [
  "/",
  "/static/common.css",
  "/static/pager.css",
  "/static/common.js",
  "/static/missed.js",
  "/static/pager.js",
  "/static/records.js",
  "/static/push.js",
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
  const slow = new Promise((_done, fail) => setTimeout(fail, PATIENCE_MS, new Error("no answer")));
  try {
    // A link that swallows packets has no end of its own.
    const fresh = await Promise.race([fetch(request), slow]);
    if (fresh.ok) {
      const copy = fresh.clone();
      caches.open(CACHE).then((cache) => cache.put(request, copy));
    }
    return fresh;
  } catch {
    return (await caches.match(request)) ?? fetch(request);
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

// A page, or word that it was answered or is over, which takes the page's place without a sound. What people read comes
// ready, in their language.
async function showPush(given) {
  const [shown] = await self.registration.getNotifications({ tag: given.tag });
  // What the push service delivers twice, or late, must not ring again; browsers want to see something all the same.
  const late = shown?.data?.revision > given.revision;
  const fresh = given.paging && !(shown?.data?.revision >= given.revision);
  const { title, body, tag, lang, dir } = late ? shown : given;
  const { revision, paging } = late ? shown.data : given;
  await self.registration.showNotification(title, {
    body,
    tag,
    lang,
    dir,
    data: { revision, paging },
    icon: "/icon-192.png",
    badge: "/static/badge.png",
    renotify: fresh,
    silent: !fresh,
    requireInteraction: paging,
    ...(fresh ? { vibrate: [400, 150, 400] } : {}),
  });
  await countPages();
  for (const client of await self.clients.matchAll({ includeUncontrolled: true })) client.postMessage({ shown: given });
}

async function countPages() {
  const shown = await self.registration.getNotifications();
  const open = shown.filter(({ data }) => data?.paging).length;
  if (open) await self.navigator.setAppBadge?.(open);
  else await self.navigator.clearAppBadge?.();
}

// The push service gave the browser another endpoint: the server learns it.
async function subscribeAgain({ oldSubscription, newSubscription }) {
  if (!oldSubscription) return; // the page does it when it is opened next
  const subscription = newSubscription ?? (await self.registration.pushManager.subscribe(oldSubscription.options));
  await fetch("/api/push", {
    method: "PUT",
    headers: { "Content-Type": "application/json", "X-Requested-With": "edge-agent" },
    body: JSON.stringify({ ...subscription.toJSON(), replaces: oldSubscription.endpoint }),
  });
}

// One after the other: each looks at what the one before has shown.
let pushes = Promise.resolve();
self.addEventListener("push", (event) => {
  pushes = pushes.catch(() => {}).then(() => showPush(event.data.json()));
  event.waitUntil(pushes);
});
self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(subscribeAgain(event)));

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(Promise.all([countPages(), openPager()]));
});
