// How the agent is: its last report in words, and the last hours as lines.

import { $, make, makeSvg } from "../common.js";
import { _ } from "../text.js";
import { word } from "../words.js";
import { ask } from "./agent.js";

const CHARTS = [
  ["frame_rate_hz", _("Frames a second")],
  ["latency_p50_ms", _("Latency, median, ms")],
  ["latency_p95_ms", _("Latency, 95 %, ms")],
  ["people", _("People in view")],
  ["outbox_depth", _("Messages waiting")],
  ["temperature_c", _("Processor, °C")],
];

export async function showHealth() {
  const history = await ask("/api/history");
  const now = history.at(-1);
  if (!now) {
    $("state").textContent = _("The first report is on its way.");
    return;
  }
  const values = { hours: (now.uptime_s / 3600).toFixed(1), frames: now.frames, faces: now.faces };
  const state = word(now.state) + (now.problem ? `: ${now.problem}` : "");
  $("state").textContent = `${state}; ${_("up for {hours} h, {frames} frames, {faces} faces judged", values)}`;
  const charts = CHARTS.map(([key, name]) => chart(name, history.map((report) => report[key])));
  $("charts").replaceChildren(...charts.filter(Boolean));
  $("abstained").replaceChildren(...items(Object.entries(now.abstained), _("None.")));
  const drift = Object.entries(now.drift).filter(([, value]) => value !== null);
  $("drift").replaceChildren(...items(drift, _("Not known yet: the baseline takes some days.")));
}

function chart(name, values) {
  const known = values.filter((value) => typeof value === "number");
  if (!known.length) return null;
  const most = Math.max(...known);
  const top = most * 1.1 || 1;
  const last = Math.max(1, values.length - 1);
  const points = values.map((value, i) => `${(100 * i) / last},${40 - (40 * (value ?? 0)) / top}`);
  const extremes = { name, now: known.at(-1), most };
  const label = _("{name}: {now} now, at most {most}", extremes);
  return make(
    "figure",
    {},
    make("figcaption", {}, `${name}: ${known.at(-1)}`, make("span", { class: "quiet" }, ` (${_("most {most}", extremes)})`)),
    makeSvg(
      "svg",
      { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": label },
      makeSvg("polyline", { points: points.join(" ") }),
    ),
  );
}

function items(entries, none) {
  if (!entries.length) return [make("li", { class: "quiet" }, none)];
  return entries.map(([key, value]) => make("li", {}, `${word(key)}: ${value}`));
}
