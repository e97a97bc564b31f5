// Which kiosks watch, in words: calm is a claim that needs every one of them.

import { $, make, time } from "./common.js";

const IN_WORDS = {
  degraded: "has a problem",
  shadow: "is in shadow mode and pages nobody",
  offline: "is offline",
  stopped: "is stopped",
  silent: "gives no sign of life",
};

const DAY_S = 24 * 3600;

// A time to come, with its date unless it is within a day.
function opening(unix_s) {
  const date = new Date(unix_s * 1000);
  const clock = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const day = { weekday: "short", day: "numeric", month: "short" };
  return unix_s - Date.now() / 1000 < DAY_S ? clock : `${date.toLocaleDateString([], day)} ${clock}`;
}

function closed({ name, opens_unix_s: opens }) {
  return `${name} is closed${opens === null ? "" : ` until ${opening(opens)}`}`;
}

function condition({ name, condition, since_unix_s: since, problem }) {
  return [
    `${name} ${IN_WORDS[condition]}`,
    since === null ? "" : `since ${time(since)}`,
    problem ? `(${problem})` : "",
  ].filter(Boolean).join(" ");
}

function snooze(kiosk, { rule, zone, until, by }, lift) {
  const what = [rule, zone === "view" ? "" : zone].filter(Boolean).join(", ");
  const text = `${kiosk.name}${what ? ` (${what})` : ""} is snoozed until ${time(Date.parse(until) / 1000)}`;
  const button = make("button", { "data-key": `${kiosk.topic} lift` }, "Page again");
  button.addEventListener("click", () => lift(kiosk));
  return make("li", {}, `${text}${by ? ` by ${by}` : ""} `, button);
}

// `lift` is called with a kiosk whose snoozes shall end.
export function showKiosks({ kiosks, calm, pages, problem }, lift) {
  const watching = kiosks.filter((kiosk) => kiosk.condition === "watching");
  const shut = kiosks.filter((kiosk) => kiosk.condition === "closed");
  const away = kiosks.filter((kiosk) => !watching.includes(kiosk) && !shut.includes(kiosk));
  const some = `${watching.length} of ${kiosks.length} kiosk${kiosks.length === 1 ? "" : "s"} watching`;
  $("watching").textContent = kiosks.length ? some : "No kiosk has been heard yet";
  $("watching").className = away.length || !kiosks.length ? "warning" : "quiet";
  $("away").replaceChildren(
    ...away.map((kiosk) => make("li", { class: "warning" }, condition(kiosk))),
    ...shut.map((kiosk) => make("li", { class: "quiet" }, closed(kiosk))),
    ...kiosks.flatMap((kiosk) => kiosk.snoozed.map((one) => snooze(kiosk, one, lift))),
  );
  $("calm").hidden = pages.length > 0;
  $("calm").className = calm && !problem ? "quiet" : "warning";
  if (problem) $("calm").textContent = "Nobody knows what is open while there is no connection.";
  else if (calm) $("calm").textContent = "No open page. All is calm.";
  else $("calm").textContent = "No open page, but not everybody watches.";
}
