// Web Push: a phone on duty is reached with its screen off as well, where its browser and the server allow it.

import { $, make, time } from "./common.js";
import { _ } from "./text.js";

const HEADERS = { "Content-Type": "application/json", "X-Requested-With": "edge-agent" };

const say = (text) => {
  $("push").textContent = text;
};

async function tell(method, body) {
  const answer = await fetch("/api/push", { method, headers: HEADERS, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(await answer.text());
}

const bytes = (base64url) =>
  Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));

const same = (a, b) => a !== null && new Uint8Array(a).toString() === b.toString();

async function subscription(manager, key) {
  const known = await manager.getSubscription();
  if (known && same(known.options.applicationServerKey, key)) return known;
  // The server's key is another one: what was subscribed with the former reaches nobody.
  await known?.unsubscribe();
  return manager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
}

// Whose phone it is, and what their shift looks after, the server knows.
export async function startPush() {
  try {
    const { key } = await fetch("/api/push").then((answer) => answer.json());
    if (!key) return;
    const registration = await navigator.serviceWorker?.ready;
    if (!registration?.pushManager || !globalThis.Notification) {
      say(_("This browser rings only while this page is open. Install the page, then it may be reached with the screen off."));
      return;
    }
    if ((await Notification.requestPermission()) !== "granted") {
      say(_("Notifications are not allowed: this phone is silent while its screen is off."));
      return;
    }
    const subscribed = await subscription(registration.pushManager, bytes(key));
    await tell("PUT", { ...subscribed.toJSON(), language: document.documentElement.lang });
    say(_("This phone is reached with its screen off."));
  } catch {
    say(_("This phone could not be set up to be reached with its screen off."));
  }
}

export async function endPush() {
  say("");
  const registration = await navigator.serviceWorker?.getRegistration();
  const known = await registration?.pushManager?.getSubscription();
  if (!known) return;
  await tell("DELETE", { endpoint: known.endpoint }).catch(() => {});
  // Should the server not have heard: the push service tells it that nobody is there.
  await known.unsubscribe();
}

// What the server says of the notifier beside it.
export function showNotifier({ away_since_unix_s: away, failing } = { away_since_unix_s: null, failing: [] }) {
  const texts = failing.map(({ name, since_unix_s: since, problem }) =>
    _("{name} is not reached since {time}: {problem}", { name, time: time(since), problem })
  );
  if (away !== null) {
    texts.unshift(_("Notifications to phones with the screen off do not work since {time}.", { time: time(away) }));
  }
  $("notifier").replaceChildren(...texts.map((text) => make("li", { class: "warning" }, text)));
}
