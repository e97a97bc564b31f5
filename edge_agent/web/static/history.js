// The history: what became of each page, and what staff say of it afterwards.

import { $, make } from "./common.js";
import { ask, duration, post, where, why } from "./records.js";
import { _, locale, ngettext } from "./text.js";
import { word } from "./words.js";

const TYPING_MS = 300;
const MAX_NOTE_CHARS = 500;
// The server has put it into its own time zone already.
const at = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

let page = 0;
let asked = 0;
let typing = 0;

const device = (topic) => topic.split("/").slice(-2).join("/");

async function load() {
  const query = new URLSearchParams([...new FormData($("filters"))].filter(([, value]) => value));
  $("csv").href = `/history.csv?${query}`;
  query.set("page", page);
  asked += 1;
  const mine = asked;
  const found = await ask(`/api/history?${query}`);
  if (mine !== asked) return;
  $("problem").textContent = found ? "" : _("The history cannot be read just now.");
  if (found) show(found);
}

function show({ rows, count, kiosks, first }) {
  $("count").textContent = count ? ngettext("{n} page", "{n} pages", count, { n: count.toLocaleString(locale) })
    : _("No page was found.");
  const focused = document.activeElement?.dataset?.key;
  $("rows").replaceChildren(...rows.map(item));
  if (focused) document.querySelector(`[data-key="${focused}"]`)?.focus();
  $("newer").disabled = first === 0;
  $("older").disabled = first + rows.length >= count;
  $("turn").hidden = count === rows.length;
  const select = $("filters").elements.kiosk;
  const options = kiosks.map(({ topic, place }) => make("option", { value: topic }, `${_(place)} (${device(topic)})`));
  const { value } = select;
  select.replaceChildren(select.options[0], ...options);
  select.value = value;
}

function answered(row) {
  if (!row.answer) return row.ended_s === null ? _("Nobody has answered yet") : _("Nobody answered");
  const how = row.answer === "ack" ? _("acknowledged") : word(row.answer);
  const values = { how, time: row.answered_s === null ? "" : duration(row.answered_s - row.raised_s) };
  const text = values.time ? _("{how} after {time}", values) : how;
  return row.answered_by ? `${text}, ${row.answered_by}` : text;
}

function ended(row) {
  if (row.ended_s === null) return _("still open");
  const values = { why: why(row.reason), time: duration(row.ended_s - row.raised_s) };
  // When it ended is not known, only that it did.
  return row.reason === "unknown" ? values.why : _("over after {time}: {why}", values);
}

function item(row) {
  const about = [device(row.topic), _(row.message), word(row.severity)];
  if (row.escalated) about.push(ngettext("escalated {n} time", "escalated {n} times", row.escalated));
  const missed = !row.answer && row.ended_s !== null;
  const shown = [
    make("h2", {}, at.format(new Date(`${row.raised}Z`)), " ", make("span", {}, where(row))),
    make("p", { class: "quiet" }, about.join(" · ")),
    make("p", { class: missed ? "warning" : "" }, `${answered(row)} · ${ended(row)}`),
  ];
  if (row.note) shown.push(make("p", { class: "note" }, row.note, row.judged_by ? ` (${row.judged_by})` : ""));
  if (row.ended_s !== null) shown.push(judging(row));
  return make("li", {}, ...shown);
}

function judging(row) {
  const verdicts = [["false_alarm", _("False alarm")], ["resolve", _("Resolved")]].map(([verdict, text]) => {
    const key = `${row.id} ${verdict}`;
    const button = make("button", { "aria-pressed": row.verdict === verdict, "data-key": key }, text);
    button.addEventListener("click", () => say({ id: row.id, verdict }));
    return button;
  });
  const label = _("Note on {place}", { place: where(row) });
  const input = make("input", { value: row.note, maxlength: MAX_NOTE_CHARS, "aria-label": label });
  const form = make("form", { hidden: "" }, input, make("button", { class: "main" }, _("Keep")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    say({ id: row.id, note: input.value });
  });
  const open = make("button", { "aria-expanded": false, "data-key": `${row.id} note` }, _("Note"));
  open.addEventListener("click", () => {
    form.hidden = !form.hidden;
    open.setAttribute("aria-expanded", !form.hidden);
    if (!form.hidden) input.focus();
  });
  return make("div", { class: "answers" }, ...verdicts, open, form);
}

async function say(what) {
  try {
    await post("/api/history", what);
    await load();
  } catch ({ message }) {
    $("problem").textContent = message;
  }
}

function search() {
  page = 0;
  load();
}

$("filters").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, TYPING_MS);
});
$("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
for (const [id, step] of [["newer", -1], ["older", 1]]) {
  $(id).addEventListener("click", () => {
    page += step;
    load();
    scrollTo(0, 0);
  });
}
load();
