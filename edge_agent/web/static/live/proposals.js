// Where faces do not move, a zone is proposed; one drawn there, saved or not, answers the proposal.

import { $, make } from "../common.js";
import { _ } from "../text.js";
import { ask } from "./agent.js";
import { addZone, held, outline } from "./zones.js";

let proposed = [];

export async function showProposed() {
  propose((await ask("/api/ignore_zones")).proposed);
}

function propose(boxes) {
  const open = boxes.filter((box) => !held().some((zone) => covers(zone, middle(box)))).map(rectangle);
  if (JSON.stringify(open) === JSON.stringify(proposed)) return;
  proposed = open;
  $("proposed").hidden = !open.length;
  $("proposed").querySelector("ul").replaceChildren(...open.map((zone, i) => make("li", {}, button(zone, i, boxes))));
  outline(open);
}

function button(zone, i, boxes) {
  const element = make("button", {}, _("Ignore place {number}", { number: i + 1 }));
  element.addEventListener("click", async () => {
    const saving = addZone(zone);
    propose(boxes);
    await saving;
  });
  return element;
}

const rectangle = ([left, top, right, bottom]) => [[left, top], [right, top], [right, bottom], [left, bottom]];
const middle = ([left, top, right, bottom]) => [(left + right) / 2, (top + bottom) / 2];

function covers(zone, [x, y]) {
  const [xs, ys] = [zone.map((corner) => corner[0]), zone.map((corner) => corner[1])];
  return Math.min(...xs) <= x && x <= Math.max(...xs) && Math.min(...ys) <= y && y <= Math.max(...ys);
}
