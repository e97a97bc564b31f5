// Pages that ended without anybody's answer, until somebody has seen them.

import { $, make } from "./common.js";
import { post, where, why } from "./records.js";
import { _, locale, ngettext } from "./text.js";

let shown = "";

function when(unixS) {
  const at = new Date(unixS * 1000);
  const today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString(locale, { timeStyle: "short", ...(today ? {} : { dateStyle: "medium" }) });
}

function seen(ids, text, key) {
  const button = make("button", { "data-key": key }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    // What it changes comes with the next state; a server that is away does not take it.
    await post("/api/seen", { ids }).catch(() => {});
    button.disabled = false;
  });
  return button;
}

function row(page) {
  const text = [`${when(page.raised_s)} ${where(page)}: ${_(page.message)}`, why(page.reason)];
  return make("li", {}, make("span", {}, text.filter(Boolean).join(" · ")), seen([page.id], _("Seen"), `${page.id} seen`));
}

export function showMissed({ missed = [], missed_count: count = 0 }) {
  const now = JSON.stringify([missed, count]);
  if (now === shown) return;
  shown = now;
  const focused = document.activeElement?.dataset?.key;
  $("missed").hidden = count === 0;
  $("missed-title").textContent = ngettext("Missed: {n} page", "Missed: {n} pages", count);
  const all = seen(missed.map(({ id }) => id), _("All of these seen"), "all seen");
  $("missed-list").replaceChildren(...missed.map(row), ...(missed.length > 1 ? [make("li", {}, all)] : []));
  const more = count - missed.length;
  if (more > 0) $("missed-list").append(make("li", {}, ngettext("and {n} more", "and {n} more", more)));
  if (focused) document.querySelector(`[data-key="${focused}"]`)?.focus();
}
