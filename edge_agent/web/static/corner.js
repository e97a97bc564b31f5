// A corner of a zone, drawn over a picture: pulled with mouse or finger, moved or deleted with the keyboard.

import { makeSvg } from "./common.js";

const STEP = 0.01;
const MOVES = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

export const rounded = (share) => Math.round(1000 * Math.min(1, Math.max(0, share))) / 1000;

// Where on an element something happened: shares of its width and height.
export function placeOn(area, { clientX, clientY }) {
  const box = area.getBoundingClientRect();
  return [rounded((clientX - box.left) / box.width), rounded((clientY - box.top) / box.height)];
}

// Returns the handle at a corner; `move` is told where it is moved to on `area`, `remove` that it was deleted.
export function handle([cx, cy], area, attributes, { move, remove }) {
  const corner = makeSvg("ellipse", { cx, cy, tabindex: 0, role: "button", ...attributes });
  corner.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    const drag = (moved) => move(placeOn(area, moved));
    const stop = () => {
      removeEventListener("pointermove", drag);
      removeEventListener("pointerup", stop);
    };
    addEventListener("pointermove", drag);
    addEventListener("pointerup", stop);
  });
  corner.addEventListener("keydown", (event) => {
    const by = MOVES[event.key];
    if (by) move([rounded(cx + by[0]), rounded(cy + by[1])]);
    else if (["Delete", "Backspace"].includes(event.key)) remove();
    else return;
    event.preventDefault();
  });
  return corner;
}
