// The live view: frames by WebSocket while they are looked at, everything else by asking now and then.

import { $ } from "./common.js";
import { device, meet } from "./live/agent.js";
import { showAlerts } from "./live/alerts.js";
import { showHealth } from "./live/health.js";
import { watch } from "./live/picture.js";
import { showProposed } from "./live/proposals.js";
import { showSummary } from "./live/summary.js";
import { showZones } from "./live/zones.js";
import { _ } from "./text.js";

const ASK_EVERY_MS = 2000;
// What keeps a page fresh; the live picture comes by itself.
const REFRESH = { alerts: showAlerts, health: showHealth, summary: showSummary, setup: showProposed };

const tabs = [...document.querySelectorAll("[role=tab]")];
let shown = "live";

// Tabs, as in the ARIA Authoring Practices: arrow keys move, the selected one is in the tab order.
function select(tab) {
  for (const other of tabs) {
    const selected = other === tab;
    other.setAttribute("aria-selected", selected);
    other.tabIndex = selected ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !selected;
  }
  shown = tab.getAttribute("aria-controls");
  history.replaceState(null, "", `#${shown}`);
  watch(shown);
  refresh();
}

for (const tab of tabs) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const next = tabs[(tabs.indexOf(tab) + move + tabs.length) % tabs.length];
    next.focus();
    select(next);
  });
}

async function refresh() {
  try {
    await REFRESH[shown]?.();
    if (!["live", "setup"].includes(shown)) $("link").textContent = "";
  } catch {
    $("link").textContent = _("No connection to the agent; trying again.");
  }
}
setInterval(() => document.hidden || refresh(), ASK_EVERY_MS);

await meet();
document.title = $("title").textContent = `${_(device.place)} (${device.site}/${device.device})`;
const mode = device.live ? _("Live: pages go to staff") : _("Shadow mode: nobody is paged");
$("mode").textContent = mode + (device.blurred ? `; ${_("faces are blurred here")}` : "");
$("kept").textContent = _(
  "Drawn zones are kept in {folder}; those of the configuration are dashed and always hold.",
  { folder: device.state_dir },
);
await showZones();
select(tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash) ?? tabs[0]);
