// The alerts since the agent started, newest first, each with its steps.

import { $, make, time } from "../common.js";
import { _, ngettext } from "../text.js";
import { word } from "../words.js";
import { ask, device, where } from "./agent.js";

const STEPS = { raised: _("paged"), escalated: _("escalated"), acked: _("acknowledged"), cleared: _("over") };

function say({ step, by, reason }) {
  return [STEPS[step] ?? step, by, reason ? `(${word(reason)})` : ""].filter(Boolean).join(" ");
}

export async function showAlerts() {
  const alerts = await ask("/api/alerts");
  $("no-alerts").hidden = alerts.length > 0;
  $("alert-rows").replaceChildren(...alerts.map(row));
}

function row(alert) {
  const people = alert.people > 1 ? ngettext("{n} person", "{n} people", alert.people) : "";
  const score = _("score {score}", { score: alert.score.toFixed(2) });
  const why = make("div", { class: "quiet" }, [alert.rule, score, people].filter(Boolean).join(", "));
  const steps = alert.steps.map((step) => make("div", {}, `${time(step.unix_s)} ${say(step)}`));
  return make(
    "tr",
    {},
    make("td", {}, _(alert.message), why),
    make("td", {}, _(device.place) + where(alert.zone)),
    make("td", {}, say(alert)),
    make("td", {}, ...steps),
  );
}
