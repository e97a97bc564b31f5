// How the agent is: its last report in words, and the last hours as lines.

import { $, make, makeSvg } from "../common.js";
import { ask } from "./agent.js";

const CHARTS = [
  ["frame_rate_hz", "Frames a second"],
  ["latency_p50_ms", "Latency, median, ms"],
  ["latency_p95_ms", "Latency, 95 %, ms"],
  ["people", "People in view"],
  ["outbox_depth", "Messages waiting"],
  ["temperature_c", "Processor, °C"],
];

export async function showHealth() {
  const history = await ask("/api/history");
  const now = history.at(-1);
  if (!now) {
    $("state").textContent = "The first report is on its way.";
    return;
  }
  $("state").textContent =
    `${now.state}${now.problem ? `: ${now.problem}` : ""}; ` +
    `up for ${(now.uptime_s / 3600).toFixed(1)} hours, ${now.frames} frames, ${now.faces} faces judged`;
  const charts = CHARTS.map(([key, name]) => chart(name, history.map((report) => report[key])));
  $("charts").replaceChildren(...charts.filter(Boolean));
  $("abstained").replaceChildren(...items(Object.entries(now.abstained), "None."));
  const drift = Object.entries(now.drift).filter(([, value]) => value !== null);
  $("drift").replaceChildren(...items(drift, "Not known yet: the baseline takes some days."));
}

function chart(name, values) {
  const known = values.filter((value) => typeof value === "number");
  if (!known.length) return null;
  const most = Math.max(...known);
  const top = most * 1.1 || 1;
  const last = Math.max(1, values.length - 1);
  const points = values.map((value, i) => `${(100 * i) / last},${40 - (40 * (value ?? 0)) / top}`);
  const label = `${name}: ${known.at(-1)} now, at most ${most}`;
  return make(
    "figure",
    {},
    make("figcaption", {}, `${name}: ${known.at(-1)}`, make("span", { class: "quiet" }, ` (most ${most})`)),
    makeSvg(
      "svg",
      { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": label },
      makeSvg("polyline", { points: points.join(" ") }),
    ),
  );
}

function items(entries, none) {
  if (!entries.length) return [make("li", { class: "quiet" }, none)];
  return entries.map(([key, value]) => make("li", {}, `${key.replaceAll("_", " ")}: ${value}`));
}
