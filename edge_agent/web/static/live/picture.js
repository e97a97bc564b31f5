// Frames, as they come, on the canvas of the page that shows them.

import { $, RECONNECT_MS, openSocket, percent } from "../common.js";
import { _ } from "../text.js";
import { word } from "../words.js";
import { describe } from "./people.js";

const SPEED_OVER_MS = 2000;

let shown = null;
let socket = null;
let caption = null;
let frames = [];

export function watch(page) {
  shown = page;
  watchIfNeeded();
}

const wanted = () => ["live", "setup"].includes(shown) && !document.hidden;

function watchIfNeeded() {
  if (!wanted()) {
    socket?.close();
    socket = null;
  } else if (socket === null) {
    connect();
  }
}

function connect() {
  socket = openSocket();
  socket.binaryType = "blob";
  socket.onopen = () => {
    $("link").textContent = "";
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") caption = JSON.parse(data);
    else draw(data, caption);
  };
  socket.onclose = ({ target }) => {
    if (socket !== target) return;
    socket = null;
    $("link").textContent = _("No connection to the agent; trying again.");
    setTimeout(watchIfNeeded, RECONNECT_MS);
  };
}

document.addEventListener("visibilitychange", watchIfNeeded);

async function draw(jpeg, about) {
  const bitmap = await createImageBitmap(jpeg);
  const canvas = $(shown === "setup" ? "setup-picture" : "picture");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  frames = [...frames.filter((at) => at > performance.now() - SPEED_OVER_MS), performance.now()];
  if (shown !== "live") return;
  for (const person of about.people) drawPerson(pen, canvas, person);
  describe(about, (1000 * frames.length) / SPEED_OVER_MS);
  document.body.dataset.frames = Number(document.body.dataset.frames ?? 0) + 1;
}

const best = (scores) => Object.entries(scores).reduce((a, b) => (b[1] > a[1] ? b : a));

function colour(name, judged) {
  if (!judged) return "#b4c4d0";
  return name === "angry" ? "#ff8f80" : "#6fd3a0";
}

function drawPerson(pen, canvas, { box, scores, judged }) {
  const [x, y, w, h] = [box[0] * canvas.width, box[1] * canvas.height, box[2] * canvas.width, box[3] * canvas.height];
  const [name, score] = best(scores);
  const text = judged ? `${word(name)} ${percent(score)}` : _("not judged");
  pen.lineWidth = 3;
  pen.strokeStyle = pen.fillStyle = colour(name, judged);
  pen.strokeRect(x, y, w, h);
  pen.font = "600 16px system-ui, sans-serif";
  pen.fillRect(x - 1.5, y - 24, pen.measureText(text).width + 12, 24);
  pen.fillStyle = "#12202b";
  pen.fillText(text, x + 5, y - 7);
}
