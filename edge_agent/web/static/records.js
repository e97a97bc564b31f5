// What the pages about past pages share: why one ended, how long things took, and saying something of them.

import { _, locale } from "./text.js";
import { word } from "./words.js";

export const why = (reason) => (reason === "unknown" ? _("ended while this server was off") : word(reason));

// What is configured in English as it ships is read in the reader's language as well.
export const where = ({ place, zone }) => _(place) + (zone === "view" ? "" : `, ${zone}`);

// Seconds in words: 24 seconds, 3.5 minutes, 2 hours.
export function duration(seconds) {
  const [unit, size] = seconds < 120 ? ["second", 1] : seconds < 7200 ? ["minute", 60] : ["hour", 3600];
  const value = seconds / size;
  const maximumFractionDigits = unit !== "second" && value < 10 ? 1 : 0;
  return value.toLocaleString(locale, { style: "unit", unit, unitDisplay: "long", maximumFractionDigits });
}

// Throws where the server does not take it.
export async function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-Requested-With": "edge-agent" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  if (answer.status === 401) location.reload();
  if (answer.status === 403) throw new Error(_("Begin a shift on the pager first."));
  if (!answer.ok) throw new Error(_("That was not kept; try again."));
}

// Undefined where the server cannot say.
export async function ask(path) {
  const answer = await fetch(path).catch(() => null);
  if (answer?.status === 401) location.reload();
  return answer?.ok ? answer.json() : undefined;
}
