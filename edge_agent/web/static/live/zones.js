// Zones to ignore, drawn over the picture with mouse, finger or keyboard.

import { $, makeSvg } from "../common.js";
import { _ } from "../text.js";
import { ask } from "./agent.js";

const HANDLE = 0.012;
const STEP = 0.01;
const MOVES = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
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
    ...drawn.flatMap((zone, i) => zone.map((_point, corner) => handle(i, corner))),
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

function handle(zone, corner) {
  const [cx, cy] = drawn[zone][corner];
  const size = { cx, cy, rx: HANDLE, ry: heightOfHandles() };
  const named = { "aria-label": nameOf(zone, corner), "data-key": keyOf(zone, corner) };
  const ellipse = makeSvg("ellipse", { ...size, ...named, tabindex: 0, role: "button" });
  ellipse.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    drag(zone, corner);
  });
  ellipse.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (move) moveTo(zone, corner, drawn[zone][corner][0] + move[0], drawn[zone][corner][1] + move[1]);
    else if (["Delete", "Backspace"].includes(event.key)) remove(zone);
    else return;
    event.preventDefault();
  });
  return ellipse;
}

function drag(zone, corner) {
  const place = ({ clientX, clientY }) => {
    const area = $("zones").getBoundingClientRect();
    moveTo(zone, corner, (clientX - area.left) / area.width, (clientY - area.top) / area.height);
  };
  const stop = () => {
    removeEventListener("pointermove", place);
    removeEventListener("pointerup", stop);
  };
  addEventListener("pointermove", place);
  addEventListener("pointerup", stop);
}

function moveTo(zone, corner, x, y) {
  drawn[zone][corner] = [x, y].map((v) => Math.round(1000 * Math.min(1, Math.max(0, v))) / 1000);
  drawZones();
  focusOn(keyOf(zone, corner));
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
