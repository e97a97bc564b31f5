// The camera's picture, asked for again and again while it is shown.

import { make } from "../common.js";

const EVERY_MS = 400;

// Returns the element, with zones or anything else on top of the picture, and shows what is wrong in `said`.
export function picture(said, ...above) {
  const image = make("img", { alt: "What the camera sees" });
  const box = make("div", { class: "picture" }, image, ...above);
  const show = async () => {
    if (!box.isConnected) return;
    try {
      const answer = await fetch("/api/picture");
      if (!answer.ok) throw new Error(await answer.text());
      const url = URL.createObjectURL(await answer.blob());
      image.onload = () => URL.revokeObjectURL(url);
      image.src = url;
      if (said.dataset.camera) said.textContent = said.dataset.camera = "";
    } catch (error) {
      said.textContent = said.dataset.camera = error.message;
    }
    setTimeout(show, EVERY_MS);
  };
  setTimeout(show);
  return box;
}
