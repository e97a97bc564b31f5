// All kiosks for who looks after them: how each is and since when, what runs on it, and which are gone.

import { $, make, time } from "./common.js";
import { ask, where } from "./records.js";
import { _, locale, ngettext } from "./text.js";
import { inWords, moment, snoozed } from "./watching.js";
import { word } from "./words.js";

const ASK_EVERY_MS = 3000;

let heard = Date.now() / 1000;
let shown = "";

async function load() {
  const found = await ask("/api/fleet");
  if (found) heard = Date.now() / 1000;
  const problem = found ? found.problem : _("No connection since {time}; trying again", { time: time(heard) });
  if ($("problem").textContent !== problem) $("problem").textContent = problem;
  // What is the same is left alone: somebody may be reading it out, or selecting it.
  const text = JSON.stringify(found?.devices);
  if (found && text !== shown) {
    shown = text;
    show(found);
  }
  setTimeout(load, ASK_EVERY_MS);
}

function show({ devices, count }) {
  const there = devices.filter(({ condition }) => condition !== "retired");
  const watching = there.filter(({ condition }) => condition === "watching").length;
  const said = [
    there.length
      ? ngettext("{watching} of {n} kiosk watching", "{watching} of {n} kiosks watching", there.length, { watching })
      : _("No kiosk has been heard yet"),
  ];
  if (count > devices.length) said.push(_("and {n} more", { n: count - devices.length }));
  $("count").textContent = said.join(" · ");
  $("rows").replaceChildren(...devices.map(card));
}

const MOOD = { watching: "", closed: "quiet", retired: "quiet" };

function card(device) {
  const number = (value) => value?.toLocaleString(locale, { maximumFractionDigits: 1 });
  const last = device.last_page;
  const facts = [
    [_("Open pages"), device.open_pages ? number(device.open_pages) : undefined],
    [_("Last page"), last ? `${moment(last.raised_s)}, ${where({ place: last.place, zone: "view" })}` : undefined],
    [_("Camera"), device.camera && word(device.camera)],
    [_("Frames a second"), number(device.frame_rate_hz)],
    [_("Messages waiting"), number(device.outbox_depth)],
    [_("Processor, °C"), number(device.temperature_c)],
    [_("Model"), device.model],
    [_("Version"), device.agent_version],
  ].filter(([, value]) => value !== undefined);
  return make(
    "li",
    {},
    make("h2", { class: MOOD[device.condition] ?? "warning" }, inWords(device)),
    ...device.snoozed.map((one) => make("p", { class: "warning" }, snoozed(device, one))),
    make("dl", {}, ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
  );
}

load();
