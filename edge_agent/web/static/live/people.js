// In words, beside the live picture: who is seen, and how far each rule is on the way to a page.

import { $, make, percent } from "../common.js";
import { _ } from "../text.js";
import { word } from "../words.js";
import { device, where } from "./agent.js";

const STATES = {
  idle: _("calm"),
  pending: _("looking closer"),
  quiet: _("paused after a page"),
  raised: _("paged"),
  escalated: _("paged, escalated"),
  acked: _("acknowledged"),
};
const SHADOW_STATES = { ...STATES, raised: _("would have paged"), escalated: _("would have paged") };
const OPEN = ["raised", "escalated", "acked"];

export function describe(about, framesPerS) {
  $("people").replaceChildren(...about.people.map((person) => make("li", {}, sayPerson(person))));
  if (!about.people.length) $("people").append(make("li", { class: "quiet" }, _("Nobody in view")));
  $("rules").replaceChildren(...about.rules.map(ruleItem));
  const text = about.rules
    .filter(({ state }) => OPEN.includes(state))
    .map(({ message, state }) => _(message) + (state === "acked" ? ` (${STATES.acked})` : ""))
    .join(" · ");
  // Read aloud when it changes, so it must not be set anew at each frame.
  if ($("page").textContent !== text) $("page").textContent = text;
  $("speed").textContent = _(
    "{rate} frames a second here; faces {detect_ms} ms, emotions {classify_ms} ms, all {total_ms} ms",
    { ...about, rate: framesPerS.toFixed(1) },
  );
}

function sayPerson({ id, zone, scores, judged }) {
  const parts = Object.entries(scores).map(([name, score]) => `${word(name)} ${percent(score)}`);
  return `${id}${where(zone)}: ${judged ? parts.join(", ") : _("seen, not judged")}`;
}

function ruleItem(rule) {
  const states = device.live ? STATES : SHADOW_STATES;
  const threshold = { score: rule.score.toFixed(2), threshold: rule.upper.toFixed(2) };
  return make(
    "li",
    {},
    `${rule.rule}${where(rule.zone)}: ${states[rule.state] ?? rule.state}`,
    make("div", { class: "quiet" }, _("score {score}, threshold {threshold}", threshold)),
    bar(rule.score, rule.score >= rule.upper, rule.upper),
    make("div", { class: "quiet" }, _("on the way to a page: {percent}", { percent: percent(rule.share) })),
    bar(rule.share, rule.share > 0.5),
  );
}

function bar(share, hot, mark) {
  const full = make("i", { style: `width:${100 * Math.min(1, share)}%` });
  const element = make("div", { class: hot ? "bar hot" : "bar" }, full);
  if (mark !== undefined) element.append(make("b", { style: `inset-inline-start:${100 * mark}%` }));
  return element;
}
