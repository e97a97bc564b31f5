// The manager's page: how many pages, where and when, how soon somebody came, and how content people were.

import { chart, number, table } from "./chart.js";
import { $, make, percent } from "./common.js";
import { ask, duration } from "./records.js";
import { _, locale, ngettext } from "./text.js";

const SPANS = [7, 30, 90];

let days = SPANS[0];

// Days and hours are the server's; here they only get their names.
const names = (options) => new Intl.DateTimeFormat(locale, { ...options, timeZone: "UTC" });
const shortDay = names({ day: "numeric", month: "short" });
const longDay = names({ dateStyle: "long" });
const hourName = names({ hour: "numeric" });
const day = (iso, style) => style.format(new Date(`${iso}T00:00Z`));

const sum = (values) => values.reduce((total, value) => total + value, 0);

function spans() {
  const buttons = SPANS.map((span) => {
    const button = make("button", { "aria-pressed": span === days }, ngettext("last {n} day", "last {n} days", span));
    button.addEventListener("click", () => {
      days = span;
      load();
    });
    return button;
  });
  const print = make("button", {}, _("Print"));
  print.addEventListener("click", () => globalThis.print());
  $("spans").replaceChildren(...buttons, print);
}

async function load() {
  spans();
  const wanted = days;
  const found = await ask(`/api/report?days=${wanted}`);
  if (wanted !== days) return;
  $("problem").textContent = found ? "" : _("The history cannot be read just now.");
  if (found) show(found);
}

function show(found) {
  const [first, last] = [found.days[0], found.days.at(-1)].map((iso) => day(iso, longDay));
  $("span").textContent = _("{first} to {last}", { first, last });
  showFigures(found);
  showDays(found);
  showHours(found);
  showPeople(found);
  showSatisfied(found);
}

// A share is said with what it is a share of: 3 of 4 is not 75 % of anything.
function showFigures({ pages, open, answered, missed, false_alarms: wrong, resolved, answer_s: answer, resolve_s: resolve }) {
  const of = (count, all) => (all ? `${percent(count / all)} (${_("{n} of {all}", { n: number(count), all: number(all) })})` : "–");
  const figures = [
    [_("Pages"), number(pages)],
    [_("Answered"), of(answered, pages)],
    [_("Nobody answered"), of(missed, pages)],
    [_("False alarms, of those with a verdict"), of(wrong, wrong + resolved)],
  ];
  if (open) figures.push([_("Open now"), number(open)]);
  $("figures").replaceChildren(
    ...figures.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
  const times = ({ half, most }) => ({ half: duration(half ?? 0), most: duration(most ?? 0) });
  $("answer").textContent = answer.count
    ? ngettext(
      "One page was answered, after {half}.",
      "Of {n} answered pages, half were answered within {half} and nine of ten within {most}.",
      answer.count,
      times(answer),
    )
    : _("No page was answered.");
  $("resolve").textContent = resolve.count
    ? ngettext(
      "One page was resolved, after {half}.",
      "Of {n} resolved pages, half were resolved within {half} and nine of ten within {most}.",
      resolve.count,
      times(resolve),
    )
    : _("No page was resolved.");
}

function replace(id, ...shown) {
  const kept = [...$(id).children].filter((child) => child.matches("h2, p"));
  $(id).replaceChildren(...kept, ...shown.flat());
}

function showDays({ days: listed, places, pages }) {
  const labels = listed.map((iso) => day(iso, shortDay));
  const series = places.map(({ site, place, pages: values }) => {
    const name = place ? _(place) : _("all others");
    return { name: site ? `${site}: ${name}` : name, values };
  });
  const perDay = listed.map((_iso, i) => sum(series.map(({ values }) => values[i])));
  const most = perDay.indexOf(Math.max(...perDay));
  const values = { pages: number(pages), day: day(listed[most], longDay), most: number(perDay[most]) };
  const spoken = pages ? _("{pages} pages; most, {most}, on {day}", values) : _("No pages.");
  const heading = _("Day");
  $("days-said").textContent = spoken;
  replace("by-day", pages ? chart({ heading, labels, series, spoken }) : []);
}

function showHours({ hours, pages }) {
  const labels = hours.map((_hour, i) => hourName.format(new Date(Date.UTC(2000, 0, 1, i))));
  const counts = hours.map((hour) => hour.pages);
  // On the days on which clocks are set an hour is missing, or comes twice.
  const means = hours.map((hour) => (hour.times ? hour.pages / hour.times : null));
  const most = counts.indexOf(Math.max(...counts));
  const spoken = pages
    ? _("Most pages, {most}, in the hour from {hour}", { most: number(counts[most]), hour: labels[most] })
    : _("No pages.");
  const series = [{ name: "", column: _("Pages"), values: counts }];
  const shown = pages ? chart({ heading: _("Hour from"), labels, series, spoken }) : [];
  if (pages) {
    const exact = [...series, { name: _("Pages each time this hour was"), values: means }];
    shown.at(-1).lastChild.replaceWith(table({ heading: _("Hour from"), labels, series: exact }));
  }
  $("hours-said").textContent = spoken;
  replace("by-hour", shown);
}

function showPeople({ names: kept, people }) {
  $("people").hidden = !kept;
  const series = [{ name: _("Pages"), values: people.map(({ pages }) => pages) }];
  const labels = people.map(({ name }) => name);
  replace("people", people.length ? table({ heading: _("Name"), labels, series }) : []);
}

function showSatisfied({ days: listed, satisfied }) {
  const visits = sum(satisfied.map((one) => one.visits));
  const content = sum(satisfied.map((one) => one.visits * (one.share ?? 0)));
  const text = visits
    ? ngettext("{share} of {visits} visit", "{share} of {visits} visits", visits, {
      share: percent(content / visits),
      visits: number(visits),
    })
    : _("No summary yet.");
  $("share").textContent = text;
  const labels = listed.map((iso) => day(iso, shortDay));
  const series = [{ name: "", column: _("Satisfied"), values: satisfied.map((one) => one.share) }];
  const heading = _("Day");
  replace("satisfied", visits ? chart({ heading, labels, series, spoken: text, top: 1, say: percent }) : []);
}

load();
