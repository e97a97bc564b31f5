// Which kiosks watch, in words: calm is a claim that needs every one of them.

import { $, make, time } from "./common.js";
import { _, locale, ngettext } from "./text.js";

const IN_WORDS = {
  watching: _("{kiosk} is watching"),
  retired: _("{kiosk} is retired, or the broker forgot it"),
  degraded: _("{kiosk} has a problem"),
  shadow: _("{kiosk} is in shadow mode and pages nobody"),
  offline: _("{kiosk} is offline"),
  stopped: _("{kiosk} is stopped"),
  silent: _("{kiosk} gives no sign of life"),
};

const DAY_S = 24 * 3600;

// A time to come, with its date unless it is within a day.
function opening(unix_s) {
  const date = new Date(unix_s * 1000);
  const clock = date.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit" });
  const day = { weekday: "short", day: "numeric", month: "short" };
  return unix_s - Date.now() / 1000 < DAY_S ? clock : `${date.toLocaleDateString(locale, day)} ${clock}`;
}

// A time that was, with its date unless it is within a day.
export function moment(unix_s) {
  if (Date.now() / 1000 - unix_s < DAY_S) return time(unix_s);
  return new Date(unix_s * 1000).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
}

function closed({ name, opens_unix_s: opens }) {
  if (opens === null) return _("{kiosk} is closed", { kiosk: name });
  return _("{kiosk} is closed until {time}", { kiosk: name, time: opening(opens) });
}

// A kiosk in one sentence.
export function inWords(kiosk) {
  if (kiosk.condition === "closed") return closed(kiosk);
  return condition(kiosk);
}

function condition({ name, condition, since_unix_s: since, problem }) {
  return [
    IN_WORDS[condition].replace("{kiosk}", name),
    since ? _("since {time}", { time: moment(since) }) : "",
    problem ? `(${problem})` : "",
  ].filter(Boolean).join(" ");
}

export function snoozed(kiosk, { rule, zone, until, by }) {
  const what = [rule, zone === "view" ? "" : zone].filter(Boolean).join(", ");
  const values = { kiosk: `${kiosk.name}${what ? ` (${what})` : ""}`, time: time(Date.parse(until) / 1000), by };
  return by ? _("{kiosk} is snoozed until {time} by {by}", values) : _("{kiosk} is snoozed until {time}", values);
}

function snooze(kiosk, one, lift) {
  const button = make("button", { "data-key": `${kiosk.topic} lift` }, _("Page again"));
  button.addEventListener("click", () => lift(kiosk));
  return make("li", {}, `${snoozed(kiosk, one)} `, button);
}

// `lift` is called with a kiosk whose snoozes shall end.
export function showKiosks({ kiosks, calm, pages, problem }, lift) {
  const watching = kiosks.filter((kiosk) => kiosk.condition === "watching");
  const shut = kiosks.filter((kiosk) => kiosk.condition === "closed");
  const away = kiosks.filter((kiosk) => !watching.includes(kiosk) && !shut.includes(kiosk));
  const count = { watching: watching.length };
  const some = ngettext("{watching} of {n} kiosk watching", "{watching} of {n} kiosks watching", kiosks.length, count);
  $("watching").textContent = kiosks.length ? some : _("No kiosk has been heard yet");
  $("watching").className = away.length || !kiosks.length ? "warning" : "quiet";
  $("away").replaceChildren(
    ...away.map((kiosk) => make("li", { class: "warning" }, condition(kiosk))),
    ...shut.map((kiosk) => make("li", { class: "quiet" }, closed(kiosk))),
    ...kiosks.flatMap((kiosk) => kiosk.snoozed.map((one) => snooze(kiosk, one, lift))),
  );
  $("calm").hidden = pages.length > 0;
  $("calm").className = calm && !problem ? "quiet" : "warning";
  if (problem) $("calm").textContent = _("Nobody knows what is open while there is no connection.");
  else if (calm) $("calm").textContent = _("No open page. All is calm.");
  else $("calm").textContent = _("No open page, but not everybody watches.");
}
