// The summary: shares of looks by hour and day, each visit counting alike.

import { $, make, percent } from "../common.js";
import { _, locale, ngettext } from "../text.js";
import { word } from "../words.js";
import { ask, device } from "./agent.js";

const COLOURS = { angry: "#ff8f80", happy: "#6fd3a0", neutral: "#8fc7ff", sad: "#b59cff" };
const OTHER_COLOUR = "#7d92a3";

const colour = (name) => COLOURS[name] ?? OTHER_COLOUR;
const begin = ({ begin_s }) => new Date(begin_s * 1000);
const hour = (interval) => begin(interval).getHours();
const clock = (interval) => begin(interval).toLocaleTimeString(locale, { hour: "numeric" });
const day = (interval) => begin(interval).toLocaleDateString(locale, { day: "numeric", month: "numeric" });

export async function showSummary() {
  const intervals = await ask("/api/summary");
  $("withheld").textContent = ngettext(
    "Intervals with fewer than {n} visit are withheld. Nothing is kept about anybody.",
    "Intervals with fewer than {n} visits are withheld. Nothing is kept about anybody.",
    device.min_group,
  );
  $("satisfied").textContent = intervals.length
    ? saySatisfied(join(intervals))
    : _("No summary yet: one comes at the end of each interval with enough visits.");
  const legend = device.emotions.map((name) =>
    make("span", {}, make("i", { style: `background:${colour(name)}` }), word(name)));
  $("legend").replaceChildren(...legend);
  const byHour = [...intervals].sort((a, b) => hour(a) - hour(b));
  $("by-hour").replaceChildren(...columns(byHour, clock));
  $("by-day").replaceChildren(...columns(intervals, day));
}

function saySatisfied({ visits, satisfied }) {
  const looks = device.satisfied.map(word).join(", ");
  return ngettext(
    "{percent} of {n} visit in a month ended with a satisfied look ({looks}).",
    "{percent} of {n} visits in a month ended with a satisfied look ({looks}).",
    visits,
    { percent: percent(satisfied), looks },
  );
}

function join(intervals) {
  const visits = intervals.reduce((sum, one) => sum + one.visits, 0);
  const mean = (value) => intervals.reduce((sum, one) => sum + one.visits * value(one), 0) / visits;
  const shares = device.emotions.map((name) => [name, mean((one) => one.shares[name] ?? 0)]);
  return { visits, satisfied: mean((one) => one.satisfied), shares: Object.fromEntries(shares) };
}

function columns(intervals, key) {
  return [...Map.groupBy(intervals, key)].map(([label, members]) => column(label, join(members)));
}

function column(label, { visits, satisfied, shares }) {
  const said = device.emotions.map((name) => `${word(name)} ${percent(shares[name])}`);
  const parts = device.emotions.map((name, i) =>
    make("i", { style: `height:${100 * shares[name]}%;background:${colour(name)}`, title: said[i] }));
  const many = ngettext("{n} visit", "{n} visits", visits);
  const spoken = `${label}: ${many}, ${_("{percent} satisfied", { percent: percent(satisfied) })}; ${said.join(", ")}`;
  return make(
    "figure",
    {},
    make("div", { role: "img", "aria-label": spoken }, ...parts),
    make("figcaption", {}, label, make("div", { class: "quiet visits" }, `${visits}`)),
  );
}
