// The alerts since the agent started, newest first, each with its steps.

import { $, make, time } from "../common.js";
import { ask, device, where } from "./agent.js";

const STEPS = { raised: "paged", escalated: "escalated", acked: "acknowledged", cleared: "over" };

function say({ step, by, reason }) {
  return (STEPS[step] ?? step) + (by ? ` by ${by}` : "") + (reason ? ` (${reason.replaceAll("_", " ")})` : "");
}

export async function showAlerts() {
  const alerts = await ask("/api/alerts");
  $("no-alerts").hidden = alerts.length > 0;
  $("alert-rows").replaceChildren(...alerts.map(row));
}

function row(alert) {
  const people = alert.people > 1 ? `, ${alert.people} people` : "";
  const why = make("div", { class: "quiet" }, `${alert.rule}, score ${alert.score.toFixed(2)}${people}`);
  const steps = alert.steps.map((step) => make("div", {}, `${time(step.unix_s)} ${say(step)}`));
  return make(
    "tr",
    {},
    make("td", {}, alert.message, why),
    make("td", {}, device.place + where(alert.zone)),
    make("td", {}, say(alert)),
    make("td", {}, ...steps),
  );
}
