// The staff pager: shows what the server says is open, rings once for each step that pages, sends answers until they
// count.

import { $, RECONNECT_MS, make, openSocket, percent, time } from "./common.js";
import { showMissed } from "./missed.js";
import { endPush, showNotifier, startPush } from "./push.js";
import { askShift, beginShift, endShift } from "./shift.js";
import { _, ngettext } from "./text.js";
import { showKiosks } from "./watching.js";
import { word } from "./words.js";

const RING_MS = 3000;
const ANSWER_AGAIN_MS = 3000;
// An answer is worth sending for so long, as the broker holds it.
const ANSWER_WORTH_MS = 600000;
// The server says how things are every four seconds at least.
const SILENCE_MS = 10000;
const PAGING = ["raised", "escalated"];
const SEVERITIES = ["critical", "warning", "info"];
// With more pages than these, each is a row.
const ROOMY = 3;
const ANSWERS = [
  ["on_my_way", _("On my way")],
  ["ack", _("Acknowledge")],
  ["resolve", _("Resolved")],
  ["false_alarm", _("False alarm")],
  ["snooze", _("Snooze")],
];

let name = localStorage.getItem("name") ?? "";
let muted = false;
// What the server said last; `problem` also while there is no server.
let state = {
  kiosks: [],
  calm: false,
  pages: [],
  recent: [],
  problem: _("no connection"),
  problem_unix_s: Date.now() / 1000,
};
let pages = [];
let socket = null;
let sound = null;
let heard = Date.now();
// Alert id → revision that was rung for; survives a reload of the page, so that nothing rings twice.
const rung = new Map(JSON.parse(sessionStorage.getItem("rung") ?? "[]"));
// Answers that the server has not shown the effect of yet: alert id → answer and revision it was given to.
const waiting = new Map();
// Alerts that the server has shown since it was connected to; one that has just started may not know of a page yet.
let shown = new Set();

function connect() {
  heard = Date.now();
  shown = new Set();
  socket = openSocket();
  socket.onmessage = ({ data }) => {
    heard = Date.now();
    show(JSON.parse(data));
  };
  socket.onopen = sendWaiting;
  socket.onclose = reconnect;
}

async function reconnect() {
  if (!name) return;
  lost();
  const mine = await askShift().catch(() => undefined);
  if (mine === null) dismiss();
  else setTimeout(connect, RECONNECT_MS);
}

// Closing a dead connection in order takes as long as it takes to find out that it is dead: begin anew at once.
function letGo() {
  socket.onmessage = socket.onopen = socket.onclose = null;
  socket.close();
}

function say(text, problem) {
  $("link").textContent = text;
  $("link").className = problem ? "problem" : "quiet";
  document.body.classList.toggle("cut-off", Boolean(problem));
}

// What was known is old from now on.
function lost() {
  if (!state.unreachable) {
    state = { ...state, unreachable: true, problem: _("no connection"), problem_unix_s: heard / 1000 };
  }
  say(_("No connection since {time}; trying again", { time: time(state.problem_unix_s) }), true);
  showKiosks(state, lift);
}

function show(news) {
  state = news;
  const { problem, problem_unix_s: since } = state;
  const trouble = _("No broker since {time}: {problem}", { time: time(since), problem });
  say(problem ? trouble : _("Connected as {name}", { name }), Boolean(problem));
  pages = state.pages.sort(mostUrgentFirst);
  for (const [id, answer] of waiting) {
    const page = pages.find((one) => one.id === id);
    const cleared = state.recent.some((one) => one.id === id && one.step === "cleared");
    const over = cleared || shown.has(id) || Date.now() - answer.since > ANSWER_WORTH_MS;
    // A kiosk that is gone says no more; the server has taken the answer.
    const taken = page?.dead && page.by === answer.by && !isPaging(page);
    if (page ? taken || page.revision > answer.revision : over) waiting.delete(id);
  }
  for (const { id } of pages) shown.add(id);
  for (const page of pages) {
    if (!isPaging(page) || (rung.get(page.id) ?? 0) >= page.revision) continue;
    rung.set(page.id, page.revision);
    announce(page);
  }
  sessionStorage.setItem("rung", JSON.stringify([...rung].slice(-200)));
  draw();
  showKiosks(state, lift);
  showNotifier(state.notifier);
  const recent = state.recent.map((page) => make("li", {}, `${time(page.unix_s)} ${place(page)}: ${what(page)}`));
  $("recent").replaceChildren(...recent);
  showMissed(state);
}

// Nobody has answered, then how bad it is, then who waits longest.
function mostUrgentFirst(a, b) {
  const rank = ({ severity }) => SEVERITIES.indexOf(severity);
  return isPaging(b) - isPaging(a) || rank(a) - rank(b) || a.raised_at.localeCompare(b.raised_at);
}

const isPaging = ({ step }) => PAGING.includes(step);

// What is configured in English as it ships is read in the reader's language as well.
const place = (page) => _(page.place) + (page.zone === "view" ? "" : `, ${page.zone}`);

const crowd = ({ people }) => (people > 1 ? ngettext("{n} person", "{n} people", people) : "");

function what({ step, by, reason, groups, people }) {
  if (step === "raised") return [_("paged"), crowd({ people })].filter(Boolean).join(", ");
  if (step === "escalated") return _("nobody came, paged {groups}", { groups: groups.join(" + ") });
  if (step === "acked") return reason === "on_my_way" ? _("{by} is on the way", { by }) : _("{by} has seen it", { by });
  return word(reason) + (by ? `, ${by}` : "");
}

function draw() {
  const focused = document.activeElement?.dataset?.key;
  $("pages").replaceChildren(...pages.map(card));
  if (focused) document.querySelector(`[data-key="${focused}"]`)?.focus();
  const unanswered = pages.filter(isPaging).length;
  document.title = unanswered ? `(${unanswered}) ${_("Staff pager")}` : _("Staff pager");
  // What waits for an answer goes before what nobody has looked at yet.
  const badge = unanswered || state.missed_count;
  if (badge) navigator.setAppBadge?.(badge);
  else navigator.clearAppBadge?.();
  tick();
}

function card(page) {
  const paging = isPaging(page);
  const message = _(page.message);
  const label = `${message}, ${place(page)}`;
  const seen = `${page.emotions.map(word).join("/")} ${percent(page.score)}`;
  const critical = page.severity === "critical";
  const kinds = { paging, critical, compact: pages.length > ROOMY };
  const about = [crowd(page), kinds.compact ? "" : word(page.severity), seen].filter(Boolean).map((text) => ` · ${text}`);
  return make(
    "article",
    { class: Object.keys(kinds).filter((kind) => kinds[kind]).join(" "), "data-id": page.id, "aria-label": label },
    make("h2", {}, critical ? `▲▲ ${message}` : message),
    make("p", { class: "place" }, place(page)),
    make("p", {}, make("span", { class: "since", "data-since": page.raised_at }), ...about),
    make("p", { class: "what" }, page.step === "raised" ? _("Nobody has answered yet") : what(page)),
    make("p", { class: `what ${page.dead || page.stray ? "warning" : "quiet"}` }, status(page)),
    make("div", { class: "answers" }, ...buttons(page, paging)),
  );
}

function status(page) {
  if (waiting.has(page.id)) return _("Sending your answer …");
  if (page.stray) return _("{device}: nobody who is here looks after this kiosk or group", { device: page.device });
  if (!page.dead) return page.device;
  const { device } = page;
  return _("{device} is gone: nobody sees any more how the customer is. Answer to close this page.", { device });
}

function buttons(page, paging) {
  const possible = ANSWERS.filter(([action]) => paging || (action !== "ack" && action !== page.reason));
  return possible.map(([action, text], index) => {
    const main = index === 0 && paging;
    const button = make("button", { class: main ? "main" : "", "data-key": `${page.id} ${action}` }, text);
    button.addEventListener("click", () => {
      const question = _("{place}: page nobody for 10 minutes, whoever comes?", { place: place(page) });
      if (action !== "snooze" || confirm(question)) reply(page, action);
    });
    return button;
  });
}

function tick() {
  for (const element of document.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(element.dataset.since)) / 1000)) || 0;
    const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    element.textContent = _("for {time}", { time: clock });
  }
}

function reply(page, action) {
  const answer = { id: page.id, action, by: name, revision: page.revision, since: Date.now() };
  waiting.set(page.id, answer);
  send(answer);
  draw();
}

function lift(kiosk) {
  send({ lift: kiosk.topic, by: name });
}

// The server knows of no shift of ours: nothing would ring here any more.
function dismiss() {
  onDuty("");
  $("refused").textContent = _("Your shift has ended. Begin a new one, or no page reaches you.");
  say("", true);
  ring();
}

function send(answer) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(answer));
}

function sendWaiting() {
  for (const answer of waiting.values()) send(answer);
}

async function announce(page) {
  if (!name) return;
  const where = [place(page), crowd(page)].filter(Boolean).join(", ");
  $("news").textContent = `${_(page.message)}, ${where}`;
  ring();
  document.body.dataset.rings = Number(document.body.dataset.rings ?? 0) + 1;
  if (document.hidden && globalThis.Notification?.permission === "granted") {
    const worker = await navigator.serviceWorker?.ready;
    const [pushed] = (await worker?.getNotifications({ tag: page.id })) ?? [];
    if (pushed?.data?.revision >= page.revision) return; // Web Push was faster
    worker?.showNotification(_(page.message), {
      body: where,
      tag: page.id,
      renotify: true,
      data: { revision: page.revision, paging: true },
      icon: "/icon-192.png",
      requireInteraction: true,
    });
  }
}

function ring() {
  navigator.vibrate?.([400, 150, 400]);
  if (muted || !sound) return;
  for (const [start, pitch] of [[0, 880], [0.25, 660]]) {
    const tone = sound.createOscillator();
    const volume = sound.createGain();
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.25, sound.currentTime + start);
    volume.gain.exponentialRampToValueAtTime(0.001, sound.currentTime + start + 0.22);
    tone.connect(volume).connect(sound.destination);
    tone.start(sound.currentTime + start);
    tone.stop(sound.currentTime + start + 0.23);
  }
}

// Browsers want a touch before a page may play sound.
function allowSound() {
  if (!sound) {
    sound = new AudioContext();
    sound.onstatechange = showSound;
  }
  sound.resume();
  showSound();
}

// What the browser really does, not what was asked of it.
function showSound() {
  const audible = sound?.state === "running";
  $("mute").setAttribute("aria-pressed", muted);
  $("mute").textContent = muted ? _("Sound is off") : audible ? _("Sound is on") : _("No sound yet: tap here");
  $("mute").className = muted || !audible ? "warning" : "";
}

// Also while there is no server: whoever was on duty before a reload is so until the server says otherwise.
function onDuty(who) {
  name = who;
  if (name) localStorage.setItem("name", name);
  else localStorage.removeItem("name");
  $("shift").hidden = Boolean(name);
  $("duty").hidden = !name;
  stayAwake();
}

function begin(who) {
  onDuty(who);
  $("refused").textContent = "";
  startPush();
  if (socket) letGo();
  connect();
}

// Asks the server who is on duty here, until it answers.
async function meet() {
  const mine = await askShift().catch(() => undefined);
  if (mine === undefined) {
    lost();
    setTimeout(meet, RECONNECT_MS);
  } else if (mine && mine.name !== name) {
    begin(mine.name);
  } else if (!name) {
    say("");
    onDuty("");
  }
}

// Browsers take the lock back whenever the page is hidden.
function stayAwake() {
  if (name && !document.hidden) navigator.wakeLock?.request("screen").catch(() => {});
}

$("shift").addEventListener("submit", async (event) => {
  event.preventDefault();
  const who = $("name").value.trim();
  if (!who) return;
  allowSound();
  globalThis.Notification?.requestPermission?.();
  const problem = await beginShift();
  if (problem) $("refused").textContent = problem;
  else begin(who);
});
$("mute").addEventListener("click", () => {
  // The tap that lets it sound is not one that silences it.
  if (muted || sound?.state === "running") muted = !muted;
  allowSound();
});
$("end").addEventListener("click", async () => {
  onDuty("");
  sound?.suspend();
  await endPush().catch(() => {});
  await endShift();
  location.reload();
});

// After a reload, on whatever is touched first.
for (const touch of ["pointerup", "keydown"]) {
  addEventListener(touch, ({ target }) => name && target !== $("mute") && allowSound());
}
showSound();
document.addEventListener("visibilitychange", stayAwake);
setInterval(tick, 1000);
setInterval(() => {
  // Also one that is still being opened: its packets may be swallowed, too.
  if (socket?.readyState > WebSocket.OPEN || Date.now() - heard <= SILENCE_MS || !socket) return;
  letGo();
  reconnect();
}, 1000);
setInterval(() => {
  if (name && pages.some((page) => isPaging(page) && !waiting.has(page.id))) ring();
}, RING_MS);
setInterval(sendWaiting, ANSWER_AGAIN_MS);
$("insecure").hidden = isSecureContext;
navigator.serviceWorker?.register("/worker.js").catch(() => {});
if (name) begin(name);
meet();
