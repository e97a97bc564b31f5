// The live view: frames by WebSocket while they are looked at, everything else by asking now and then.

const ASK_EVERY_MS = 2000;
const RECONNECT_MS = 1000;
const HANDLE = 0.012;
const STEP = 0.01;
const CHARTS = [
  ["frame_rate_hz", "Frames a second"], ["latency_p50_ms", "Latency, median, ms"], ["latency_p95_ms", "Latency, 95 %, ms"],
  ["people", "People in view"], ["outbox_depth", "Messages waiting"], ["temperature_c", "Processor, °C"],
];

const $ = (id) => document.getElementById(id);
const tabs = [...document.querySelectorAll("[role=tab]")];
let device = {};
let socket = null;
let caption = null;
let zones = [];
let fixedZones = [];
let proposedZones = [];
let shown = "live";
let frames = [];

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

async function ask(path, options) {
  const answer = await fetch(path, { ...options, headers: { "X-Requested-With": "edge-agent", "Content-Type": "application/json" } });
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

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
  watchIfNeeded();
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

// Frames.
const wanted = () => ["live", "setup"].includes(shown) && !document.hidden;

function watchIfNeeded() {
  if (!wanted()) {
    socket?.close();
    socket = null;
  } else if (socket === null) {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    socket.binaryType = "blob";
    socket.onopen = () => { $("link").textContent = ""; };
    socket.onmessage = ({ data }) => (typeof data === "string" ? (caption = JSON.parse(data)) : draw(data, caption));
    socket.onclose = ({ target }) => {
      if (socket !== target) return;
      socket = null;
      $("link").textContent = "No connection to the agent; trying again.";
      setTimeout(watchIfNeeded, RECONNECT_MS);
    };
  }
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
  frames = [...frames.filter((at) => at > performance.now() - 2000), performance.now()];
  if (shown !== "live") return;
  for (const person of about.people) drawPerson(pen, canvas, person);
  describe(about);
  document.body.dataset.frames = Number(document.body.dataset.frames ?? 0) + 1;
}

const best = (scores) => Object.entries(scores).reduce((a, b) => (b[1] > a[1] ? b : a));

function drawPerson(pen, canvas, { box, scores, judged }) {
  const [x, y, w, h] = [box[0] * canvas.width, box[1] * canvas.height, box[2] * canvas.width, box[3] * canvas.height];
  const [name, score] = best(scores);
  const text = judged ? `${name} ${Math.round(score * 100)} %` : "not judged";
  pen.lineWidth = 3;
  pen.strokeStyle = pen.fillStyle = !judged ? "#b4c4d0" : name === "angry" ? "#ff8f80" : "#6fd3a0";
  pen.strokeRect(x, y, w, h);
  pen.font = "600 16px system-ui, sans-serif";
  pen.fillRect(x - 1.5, y - 24, pen.measureText(text).width + 12, 24);
  pen.fillStyle = "#12202b";
  pen.fillText(text, x + 5, y - 7);
}

function bar(share, hot, mark) {
  const element = make("div", { class: hot ? "bar hot" : "bar" }, make("i", { style: `width:${100 * Math.min(1, share)}%` }));
  if (mark !== undefined) element.append(make("b", { style: `left:${100 * mark}%` }));
  return element;
}

const where = (zone) => (zone === "view" ? "" : ` in ${zone}`);
const STATES = { idle: "calm", pending: "looking closer", quiet: "paused after a page", raised: "paged", escalated: "paged, escalated", acked: "acknowledged" };

function describe(about) {
  const paged = device.live ? {} : { raised: "would have paged", escalated: "would have paged" };
  const states = { ...STATES, ...paged };
  $("people").replaceChildren(...about.people.map(({ id, zone, scores, judged }) =>
    make("li", {}, judged ? `${id}${where(zone)}: ` + Object.entries(scores).map(([n, s]) => `${n} ${Math.round(100 * s)} %`).join(", ")
      : `${id}${where(zone)}: seen, not judged`)));
  if (!about.people.length) $("people").append(make("li", { class: "quiet" }, "Nobody in view"));
  $("rules").replaceChildren(...about.rules.map((rule) => {
    const line = make("li", {}, `${rule.rule}${where(rule.zone)}: ${states[rule.state] ?? rule.state}`);
    line.append(make("div", { class: "quiet" }, `score ${rule.score.toFixed(2)}, threshold ${rule.upper.toFixed(2)}`));
    line.append(bar(rule.score, rule.score >= rule.upper, rule.upper));
    line.append(make("div", { class: "quiet" }, `on the way to a page: ${Math.round(100 * rule.share)} %`), bar(rule.share, rule.share > 0.5));
    return line;
  }));
  const open = about.rules.filter(({ state }) => ["raised", "escalated", "acked"].includes(state));
  const text = open.map(({ message, state }) => message + (state === "acked" ? " (acknowledged)" : "")).join(" · ");
  if ($("page").textContent !== text) $("page").textContent = text;
  $("speed").textContent = `${(frames.length / 2).toFixed(1)} frames a second here; faces ${about.detect_ms} ms, emotions ${about.classify_ms} ms, all ${about.total_ms} ms`;
}

// Alerts and health.
const time = (unixS) => new Date(unixS * 1000).toLocaleTimeString();
const STEPS = { raised: "paged", escalated: "escalated", acked: "acknowledged", cleared: "over" };
const say = ({ step, by, reason }) => (STEPS[step] ?? step) + (by ? ` by ${by}` : "") + (reason ? ` (${reason.replaceAll("_", " ")})` : "");

async function showAlerts() {
  const rows = await ask("/api/alerts");
  $("no-alerts").hidden = rows.length > 0;
  $("alert-rows").replaceChildren(...rows.map((alert) => make("tr", {},
    make("td", {}, `${alert.message}`, make("div", { class: "quiet" }, `${alert.rule}, score ${alert.score.toFixed(2)}${alert.people > 1 ? `, ${alert.people} people` : ""}`)),
    make("td", {}, device.place + where(alert.zone)), make("td", {}, say(alert)),
    make("td", {}, ...alert.steps.map((step) => make("div", {}, `${time(step.unix_s)} ${say(step)}`))))));
}

function chart(name, values) {
  const known = values.filter((value) => typeof value === "number");
  if (!known.length) return "";
  const top = Math.max(...known) * 1.1 || 1;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${name}: ${known.at(-1)} now, at most ${Math.max(...known)}`);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", values.map((v, i) => `${(100 * i) / Math.max(1, values.length - 1)},${40 - (40 * (v ?? 0)) / top}`).join(" "));
  svg.append(line);
  return make("figure", {}, make("figcaption", {}, `${name}: ${known.at(-1)}`, make("span", { class: "quiet" }, ` (most ${Math.max(...known)})`)), svg);
}

const items = (entries, none) => (entries.length ? entries.map(([k, v]) => make("li", {}, `${k.replaceAll("_", " ")}: ${v}`)) : [make("li", { class: "quiet" }, none)]);

async function showHealth() {
  const history = await ask("/api/history");
  const now = history.at(-1);
  if (!now) { $("state").textContent = "The first report is on its way."; return; }
  $("state").textContent = `${now.state}${now.problem ? `: ${now.problem}` : ""}; up for ${(now.uptime_s / 3600).toFixed(1)} hours, ${now.frames} frames, ${now.faces} faces judged`;
  $("charts").replaceChildren(...CHARTS.map(([key, name]) => chart(name, history.map((h) => h[key]))).filter(Boolean));
  $("abstained").replaceChildren(...items(Object.entries(now.abstained), "None."));
  $("drift").replaceChildren(...items(Object.entries(now.drift).filter(([, v]) => v !== null), "Not known yet: the baseline takes some days."));
}

// The summary: shares of looks, each visit counting alike.
const COLOURS = { angry: "#ff8f80", happy: "#6fd3a0", neutral: "#8fc7ff", sad: "#b59cff" };
const colour = (name) => COLOURS[name] ?? "#7d92a3";
const percent = (share) => `${Math.round(100 * share)} %`;

function join(intervals) {
  const visits = intervals.reduce((sum, one) => sum + one.visits, 0);
  const mean = (value) => intervals.reduce((sum, one) => sum + one.visits * value(one), 0) / visits;
  return { visits, satisfied: mean((one) => one.satisfied), shares: Object.fromEntries(device.groups.map((name) => [name, mean((one) => one.shares[name] ?? 0)])) };
}

function columns(intervals, key) {
  const buckets = Map.groupBy(intervals, key);
  return [...buckets].map(([label, members]) => {
    const { visits, satisfied, shares } = join(members);
    const stack = make("div", { role: "img", "aria-label": `${label}: ${visits} visits, ${percent(satisfied)} satisfied; ` +
      device.groups.map((name) => `${name} ${percent(shares[name])}`).join(", ") },
      ...device.groups.map((name) => make("i", { style: `height:${100 * shares[name]}%;background:${colour(name)}`, title: `${name} ${percent(shares[name])}` })));
    return make("figure", {}, stack, make("figcaption", {}, label, make("div", { class: "quiet", style: "height:auto;background:none;display:block" }, `${visits}`)));
  });
}

async function showSummary() {
  const intervals = await ask("/api/summary");
  $("withheld").textContent = `Intervals with fewer than ${device.min_group} visits are withheld. Nothing is kept about anybody.`;
  $("satisfied").textContent = intervals.length ? `${percent(join(intervals).satisfied)} of ${join(intervals).visits} visits in a month ended with a satisfied look (${device.satisfied.join(" or ")}).`
    : "No summary yet: one comes at the end of each interval with enough visits.";
  $("legend").replaceChildren(...device.groups.map((name) => make("span", {}, make("i", { style: `background:${colour(name)}` }), name)));
  const begin = ({ begin_s }) => new Date(begin_s * 1000);
  $("by-hour").replaceChildren(...columns([...intervals].sort((a, b) => begin(a).getHours() - begin(b).getHours()), (one) => `${String(begin(one).getHours()).padStart(2, "0")} h`));
  $("by-day").replaceChildren(...columns(intervals, (one) => begin(one).toLocaleDateString("sv").slice(5)));
}

// Zones.
function zoneHandle(zone, corner) {
  const [x, y] = zones[zone][corner];
  const box = $("setup-picture").getBoundingClientRect();
  const handle = document.createElementNS("http://www.w3.org/2000/svg", "ellipse");
  const attributes = { cx: x, cy: y, rx: HANDLE, ry: (HANDLE * box.width) / Math.max(1, box.height), tabindex: 0, role: "button",
    "aria-label": `Zone ${zone + 1}, corner ${corner + 1}` };
  for (const [key, value] of Object.entries(attributes)) handle.setAttribute(key, value);
  const moveTo = (nx, ny) => {
    zones[zone][corner] = [nx, ny].map((v) => Math.round(1000 * Math.min(1, Math.max(0, v))) / 1000);
    drawZones();
    $("zones").querySelector(`[aria-label="Zone ${zone + 1}, corner ${corner + 1}"]`).focus();
  };
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    const place = ({ clientX, clientY }) => {
      const area = $("zones").getBoundingClientRect();
      moveTo((clientX - area.left) / area.width, (clientY - area.top) / area.height);
    };
    const stop = () => { removeEventListener("pointermove", place); removeEventListener("pointerup", stop); };
    addEventListener("pointermove", place);
    addEventListener("pointerup", stop);
  });
  handle.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (move) moveTo(zones[zone][corner][0] + move[0], zones[zone][corner][1] + move[1]);
    else if (["Delete", "Backspace"].includes(event.key)) { zones.splice(zone, 1); drawZones(); $("add-zone").focus(); }
    else return;
    event.preventDefault();
  });
  return handle;
}

function drawZones() {
  const polygon = (corners, kind) => {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    shape.setAttribute("points", corners.map((corner) => corner.join(",")).join(" "));
    shape.setAttribute("class", kind);
    return shape;
  };
  $("zones").replaceChildren(...fixedZones.map((zone) => polygon(zone, "fixed")), ...proposedZones.map((zone) => polygon(zone, "proposed")),
    ...zones.map((zone) => polygon(zone, "drawn")),
    ...zones.flatMap((zone, i) => zone.map((_, corner) => zoneHandle(i, corner))));
  $("yaml").textContent = `faces:\n  ignore_zones: ${JSON.stringify([...fixedZones, ...zones])}`;
  $("saved").textContent = "";
}

$("add-zone").addEventListener("click", () => {
  zones.push([[0.05, 0.1], [0.3, 0.1], [0.3, 0.9], [0.05, 0.9]]);
  drawZones();
  $("zones").querySelector(`[aria-label="Zone ${zones.length}, corner 1"]`).focus();
});
// Where faces do not move; a zone drawn there, saved or not, answers the proposal.
const rectangle = ([left, top, right, bottom]) => [[left, top], [right, top], [right, bottom], [left, bottom]];
const covers = (zone, [x, y]) => Math.min(...zone.map(([zx]) => zx)) <= x && x <= Math.max(...zone.map(([zx]) => zx))
  && Math.min(...zone.map(([, zy]) => zy)) <= y && y <= Math.max(...zone.map(([, zy]) => zy));

function propose(boxes) {
  const open = boxes.filter(([left, top, right, bottom]) => ![...fixedZones, ...zones].some((zone) => covers(zone, [(left + right) / 2, (top + bottom) / 2])));
  if (JSON.stringify(open.map(rectangle)) === JSON.stringify(proposedZones)) return;
  proposedZones = open.map(rectangle);
  $("proposed").hidden = !open.length;
  $("proposed").querySelector("ul").replaceChildren(...proposedZones.map((zone, i) => {
    const button = make("button", {}, `Ignore place ${i + 1}`);
    button.addEventListener("click", async () => {
      zones.push(zone);
      propose(boxes);
      drawZones();
      await saveZones();
    });
    return make("li", {}, button);
  }));
  const [text, focused] = [$("saved").textContent, document.activeElement?.getAttribute("aria-label")];
  drawZones();
  $("saved").textContent = text;
  if (focused?.startsWith("Zone")) $("zones").querySelector(`[aria-label="${focused}"]`)?.focus();
}

async function showProposed() {
  propose((await ask("/api/ignore_zones")).proposed);
}

async function saveZones() {
  try {
    await ask("/api/ignore_zones", { method: "PUT", body: JSON.stringify(zones) });
    $("saved").textContent = "Saved; in force from the next frame on.";
  } catch (error) { $("saved").textContent = `Not saved: ${error.message}`; }
}
$("save-zones").addEventListener("click", saveZones);

async function showZones() {
  const known = await ask("/api/ignore_zones");
  [fixedZones, zones] = [known.configured, known.drawn];
  drawZones();
}

// Handles are round whatever the picture's shape, which is known once it is shown.
new ResizeObserver(() => {
  for (const handle of document.querySelectorAll("#zones ellipse")) {
    const box = $("setup-picture").getBoundingClientRect();
    handle.setAttribute("ry", (HANDLE * box.width) / Math.max(1, box.height));
  }
}).observe($("setup-picture"));

// Whatever is shown is kept fresh.
async function refresh() {
  try {
    if (shown === "alerts") await showAlerts();
    if (shown === "health") await showHealth();
    if (shown === "summary") await showSummary();
    if (shown === "setup") await showProposed();
    if (!["live", "setup"].includes(shown)) $("link").textContent = "";
  } catch { $("link").textContent = "No connection to the agent; trying again."; }
}
setInterval(() => document.hidden || refresh(), ASK_EVERY_MS);

device = await ask("/api/device");
document.title = $("title").textContent = `${device.place} (${device.site}/${device.device})`;
$("mode").textContent = (device.live ? "Live: pages go to staff" : "Shadow mode: nobody is paged") + (device.blurred ? "; faces are blurred here" : "");
$("kept").textContent = `Drawn zones are kept in ${device.state_dir}; those of the configuration are dashed and always hold.`;
await showZones();
select(tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash) ?? tabs[0]);
