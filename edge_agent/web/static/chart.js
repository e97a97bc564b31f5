// Columns, stacked, with a table of the same numbers below for whoever cannot see them or wants to know exactly.

import { make, makeSvg } from "./common.js";
import { _, locale } from "./text.js";

// In the drawing's own units; what is written is as large as other text on a phone, too.
const narrow = innerWidth < 600;
const WIDTH = narrow ? 400 : 720;
const HEIGHT = 200;
const BOTTOM = 24;
const SIDE = 44;
// Labels that fit beside each other.
const MAX_LABELS = narrow ? 6 : 12;

export const number = (value) => value.toLocaleString(locale, { maximumFractionDigits: 1 });

// The next round number whose half is a whole one: what an axis ends with.
function roundUp(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * size).find((top) => top >= value && top % 2 === 0);
}

// Time goes as the text does.
const turned = document.documentElement.dir === "rtl";
const across = (x, width = 0) => (turned ? WIDTH - x - width : x);

function axis(top, say) {
  return [0, 0.5, 1].flatMap((share) => {
    const y = HEIGHT - share * HEIGHT + 10;
    const line = { x1: across(SIDE), x2: across(WIDTH), y1: y, y2: y, class: "grid" };
    const text = { x: across(SIDE - 6), y: y + 4, class: "tick", "text-anchor": turned ? "start" : "end" };
    return [makeSvg("line", line), makeSvg("text", text, say(share * top))];
  });
}

// labels: one for each column. series: {name, values}, the lowest first. spoken: what the drawing says, in a sentence.
// top: of the axis, where it is not the highest column. say: a value in words.
export function chart({ heading, labels, series, spoken, top, say = number }) {
  const sums = labels.map((_label, i) => series.reduce((sum, { values }) => sum + (values[i] ?? 0), 0));
  const highest = top ?? roundUp(Math.max(1, ...sums));
  const step = (WIDTH - SIDE) / labels.length;
  const every = Math.ceil(labels.length / MAX_LABELS);
  const drawn = axis(highest, say);
  labels.forEach((label, i) => {
    let y = HEIGHT + 10;
    const x = SIDE + i * step;
    series.forEach(({ name, values }, kind) => {
      const height = ((values[i] ?? 0) / highest) * HEIGHT;
      y -= height;
      const width = step * 0.8;
      const box = { x: across(x + step * 0.1, width), y, width, height, class: `kind-${kind}` };
      const title = makeSvg("title", {}, [label, name, say(values[i] ?? 0)].filter(Boolean).join(" · "));
      if (height) drawn.push(makeSvg("rect", box, title));
    });
    const place = { x: across(x + step / 2), y: HEIGHT + BOTTOM + 4, class: "tick", "text-anchor": "middle" };
    if (i % every === 0) drawn.push(makeSvg("text", place, label));
  });
  const size = { viewBox: `0 0 ${WIDTH} ${HEIGHT + BOTTOM + 10}`, role: "img", "aria-label": spoken };
  const legend = series.filter(({ name }) => name).map(({ name }, kind) =>
    make("li", {}, make("i", { class: `kind-${kind}` }), ` ${name}`));
  return [
    makeSvg("svg", size, ...drawn),
    ...(legend.length ? [make("ul", { class: "legend" }, ...legend)] : []),
    make("details", {}, make("summary", {}, _("As a table")), table({ heading, labels, series, say })),
  ];
}

// The first column names the row; a value that is not there is a dash.
export function table({ heading, labels, series, say = number }) {
  const cell = (value) => make("td", {}, value === null || value === undefined ? "–" : say(value));
  const heads = [heading, ...series.map(({ name, column }) => column ?? name)];
  const rows = labels.map((label, i) =>
    make("tr", {}, make("th", { scope: "row" }, label), ...series.map(({ values }) => cell(values[i]))));
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows),
  );
}
