// In words, beside the live picture: who is seen, and how far each rule is on the way to a page.

import { $, make, percent } from "../common.js";
import { device, where } from "./agent.js";

const STATES = {
  idle: "calm",
  pending: "looking closer",
  quiet: "paused after a page",
  raised: "paged",
  escalated: "paged, escalated",
  acked: "acknowledged",
};
const SHADOW_STATES = { ...STATES, raised: "would have paged", escalated: "would have paged" };
const OPEN = ["raised", "escalated", "acked"];

export function describe(about, framesPerS) {
  $("people").replaceChildren(...about.people.map((person) => make("li", {}, sayPerson(person))));
  if (!about.people.length) $("people").append(make("li", { class: "quiet" }, "Nobody in view"));
  $("rules").replaceChildren(...about.rules.map(ruleItem));
  const text = about.rules
    .filter(({ state }) => OPEN.includes(state))
    .map(({ message, state }) => message + (state === "acked" ? " (acknowledged)" : ""))
    .join(" · ");
  // Read aloud when it changes, so it must not be set anew at each frame.
  if ($("page").textContent !== text) $("page").textContent = text;
  $("speed").textContent =
    `${framesPerS.toFixed(1)} frames a second here; ` +
    `faces ${about.detect_ms} ms, emotions ${about.classify_ms} ms, all ${about.total_ms} ms`;
}

function sayPerson({ id, zone, scores, judged }) {
  const parts = Object.entries(scores).map(([name, score]) => `${name} ${percent(score)}`);
  return `${id}${where(zone)}: ${judged ? parts.join(", ") : "seen, not judged"}`;
}

function ruleItem(rule) {
  const states = device.live ? STATES : SHADOW_STATES;
  return make(
    "li",
    {},
    `${rule.rule}${where(rule.zone)}: ${states[rule.state] ?? rule.state}`,
    make("div", { class: "quiet" }, `score ${rule.score.toFixed(2)}, threshold ${rule.upper.toFixed(2)}`),
    bar(rule.score, rule.score >= rule.upper, rule.upper),
    make("div", { class: "quiet" }, `on the way to a page: ${percent(rule.share)}`),
    bar(rule.share, rule.share > 0.5),
  );
}

function bar(share, hot, mark) {
  const full = make("i", { style: `width:${100 * Math.min(1, share)}%` });
  const element = make("div", { class: hot ? "bar hot" : "bar" }, full);
  if (mark !== undefined) element.append(make("b", { style: `left:${100 * mark}%` }));
  return element;
}
