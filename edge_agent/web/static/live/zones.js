// Zones to ignore, drawn over the picture with mouse, finger or keyboard.

import { $, makeSvg } from "../common.js";
import { handle } from "../corner.js";
import { _ } from "../text.js";
import { ask } from "./agent.js";

const HANDLE = 0.012;
const NEW_ZONE = [[0.05, 0.1], [0.3, 0.1], [0.3, 0.9], [0.05, 0.9]];

let configured = [];
let proposed = [];
let drawn = [];

export const held = () => [...configured, ...drawn];

export async function showZones() {
  ({ configured, drawn } = await ask("/api/ignore_zones"));
  drawZones();
}

export async function addZone(zone) {
  drawn.push(zone);
  drawZones();
  await saveZones();
}

// Show where zones are proposed; who is at work on a corner stays there.
export function outline(zones) {
  proposed = zones;
  const saved = $("saved").textContent;
  const focused = document.activeElement?.dataset?.key;
  drawZones();
  $("saved").textContent = saved;
  if (focused) focusOn(focused);
}

async function saveZones() {
  try {
    await ask("/api/ignore_zones", { method: "PUT", body: JSON.stringify(drawn) });
    $("saved").textContent = _("Saved; in force from the next frame on.");
  } catch (error) {
    $("saved").textContent = _("Not saved: {problem}", { problem: error.message });
  }
}

function drawZones() {
  const polygon = (corners, kind) => makeSvg("polygon", { points: corners.join(" "), class: kind });
  $("zones").replaceChildren(
    ...configured.map((zone) => polygon(zone, "fixed")),
    ...proposed.map((zone) => polygon(zone, "proposed")),
    ...drawn.map((zone) => polygon(zone, "drawn")),
    ...drawn.flatMap((zone, i) => zone.map((_point, corner) => cornerOf(i, corner))),
  );
  $("yaml").textContent = `faces:\n  ignore_zones: ${JSON.stringify(held())}`;
  $("saved").textContent = "";
}

const nameOf = (zone, corner) => _("Zone {zone}, corner {corner}", { zone: zone + 1, corner: corner + 1 });
const keyOf = (zone, corner) => `${zone} ${corner}`;
const focusOn = (key) => $("zones").querySelector(`[data-key="${key}"]`)?.focus();

// Handles are round whatever the picture's shape, which is known once it is shown.
function heightOfHandles() {
  const box = $("setup-picture").getBoundingClientRect();
  return (HANDLE * box.width) / Math.max(1, box.height);
}

new ResizeObserver(() => {
  for (const ellipse of document.querySelectorAll("#zones ellipse")) ellipse.setAttribute("ry", heightOfHandles());
}).observe($("setup-picture"));

function cornerOf(zone, corner) {
  const named = { "aria-label": nameOf(zone, corner), "data-key": keyOf(zone, corner) };
  return handle(drawn[zone][corner], $("zones"), { rx: HANDLE, ry: heightOfHandles(), ...named }, {
    move: (to) => {
      drawn[zone][corner] = to;
      drawZones();
      focusOn(keyOf(zone, corner));
    },
    remove: () => remove(zone),
  });
}

function remove(zone) {
  drawn.splice(zone, 1);
  drawZones();
  $("add-zone").focus();
}

$("add-zone").addEventListener("click", () => {
  drawn.push(structuredClone(NEW_ZONE));
  drawZones();
  focusOn(keyOf(drawn.length - 1, 0));
});
$("save-zones").addEventListener("click", saveZones);
