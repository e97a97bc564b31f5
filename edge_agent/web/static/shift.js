// Beginning and ending a shift: who, which one, and a PIN where one is wanted. The server keeps a cookie of it.

import { $, make } from "./common.js";
import { _, ngettext } from "./text.js";

// A request on a link that swallows packets has no end of its own.
const PATIENCE_MS = 5000;
const HEADERS = { "X-Requested-With": "edge-agent", "Content-Type": "application/json" };
const REFUSED = {
  "no such name": _("There is nobody of this name."),
  "no such shift": _("There is no such shift any more."),
  "wrong PIN": _("That is not the PIN."),
};

// Whoever is on duty here, as the server knows it; null for nobody.
export async function askShift() {
  const answer = await fetch("/api/shift", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (answer.status === 401) location.reload(); // the token is asked for again
  const { mine, staff, shifts } = await answer.json();
  offer(staff, shifts);
  return mine;
}

function choose(id, values) {
  const select = make("select", { id, name: id }, ...values.map((value) => make("option", { value }, value)));
  $(id).replaceWith(select);
  return select;
}

function show(id, shown) {
  $(id).hidden = !shown;
  $(id).disabled = !shown;
  document.querySelector(`[for=${id}]`).hidden = !shown;
}

function offer(staff, shifts) {
  const chosen = $("name").value;
  if (staff.length) {
    const select = choose("name", staff.map(({ name }) => name));
    const askPin = () => show("pin", staff.find(({ name }) => name === select.value)?.pin);
    if (staff.some(({ name }) => name === chosen)) select.value = chosen;
    select.addEventListener("change", askPin);
    askPin();
  } else {
    show("pin", false);
  }
  const shift = $("which").value;
  choose("which", shifts);
  if (shifts.includes(shift)) $("which").value = shift;
  show("which", shifts.length > 1);
}

// Returns what is wrong, in words; an empty text when the shift has begun.
export async function beginShift() {
  const body = JSON.stringify({ name: $("name").value, shift: $("which").value, pin: $("pin").value });
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch("/api/shift", { method: "POST", headers: HEADERS, body, signal }).catch(() => null);
  $("pin").value = "";
  if (answer === null) return _("There is no connection.");
  if (answer.ok) return "";
  const { problem, wait_s: wait } = await answer.json().catch(() => ({}));
  if (wait) return ngettext("Too many wrong PINs: wait {n} second.", "Too many wrong PINs: wait {n} seconds.", wait);
  return REFUSED[problem] ?? _("The server does not take this.");
}

export async function endShift() {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  await fetch("/api/shift", { method: "DELETE", headers: HEADERS, signal }).catch(() => {});
}
