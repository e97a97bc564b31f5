// The wizard: one step at a time, each sent and checked before the next.

import { $, make } from "../common.js";
import { ask } from "../live/agent.js";
import { answers, choices, field, tell } from "./fields.js";
import { picture } from "./picture.js";
import { drawing } from "./zones.js";

const { file, steps, values, install, hint } = await ask("/api/steps");
steps.push({ key: "end", title: "Write it", text: "", questions: [], by_hand: [] });
const POLL_MS = 300;
let at = 0;
// What the present step sends, what its Next does before the next one, and whether it may fail and go on.
let collect, attempt, insisted;

const post = (path, body = {}) => ask(path, { method: "POST", body: JSON.stringify(body) });
const told = () => ask("/api/told");

async function send(body) {
  const { problems, values: now } = await post("/api/answers", body);
  Object.assign(values, now);
  return problems;
}

const fields = (questions) => questions.map((question) => field(question, values[question.option]));

// What was found, with the questions for whoever knows better.
function finder(step, after = () => {}) {
  const box = make("div", {}, make("p", { class: "quiet" }, "Looking …"));
  const byHand = make("details", {}, make("summary", {}, "Say it by hand"), ...fields(step.by_hand));
  ask(`/api/found/${step.key}`).then((found) => {
    const chosen = async (number) => {
      await send(Object.fromEntries(Object.entries(found[number].values).map(([key, value]) => [key, asText(value)])));
      byHand.replaceChildren(byHand.firstChild, ...fields(step.by_hand));
      after();
    };
    if (found.length) box.replaceChildren(choices("What was found", found.map(({ label }) => label), chosen));
    else box.replaceChildren(make("p", {}, "None was found."));
    byHand.open = !found.length;
  });
  return [box, byHand];
}

const asText = (value) => (value === true ? "yes" : value === false ? "no" : String(value));

const own = {
  camera(step) {
    const turned = make("p", { class: "row" });
    const suggest = async () => {
      const { rotate } = await ask("/api/turn");
      if (rotate === null) return turned.replaceChildren();
      const button = make("button", { type: "button" }, `Turn it: ${rotate} degrees`);
      button.addEventListener("click", async () => {
        await send({ "camera.rotate": String(rotate) });
        $("own").querySelector("[name='camera.rotate']").value = rotate;
        turned.replaceChildren();
      });
      turned.replaceChildren("Faces in the picture do not stand upright.", button);
    };
    const use = make("button", { type: "button" }, "Show this camera");
    use.addEventListener("click", async () => {
      if (!report(await send(answers($("own"))))) suggest();
    });
    suggest();
    return [...finder(step, suggest), ...fields(step.questions), make("p", { class: "row" }, use), turned,
      picture($("said"))];
  },

  zones() {
    const { svg, list, values: drawn } = drawing(values["faces.ignore_zones"], values.zones);
    collect = drawn;
    return [make("p", { class: "quiet" }, "Click into the picture for each corner; drag corners, or use arrow keys."),
      picture($("said"), svg), list];
  },

  broker(step) {
    attempt = async () => {
      $("said").textContent = "Trying …";
      const { works, said } = await post("/api/broker");
      $("said").textContent = works ? said : `${said}. Press Next again to go on all the same.`;
      return works;
    };
    // What the questions are depends on what was answered: a password needs a user.
    return [make("p", { class: "quiet" }, `None yet? On this computer: ${install}`), make("p", { class: "quiet" }, hint),
      ...finder(step), ...fields(step.questions)];
  },

  pages() {
    const box = make("div", {});
    const input = make("input", { type: "number", min: 1, max: 999999, value: 25 });
    const show = async () => {
      const { meanings, measured } = await ask(`/api/thresholds?visitors=${encodeURIComponent(input.value)}`);
      const chosen = (number) => (collect = () => ({ "rules.0.upper": meanings[number].upper }));
      box.replaceChildren(choices("What is paged", meanings.map(({ label }) => label), chosen, 0));
      if (!meanings.length) box.replaceChildren(make("p", {}, "There is no rule, so nobody is ever paged."));
      if (!measured) {
        box.append(make("p", { class: "quiet" }, "What other thresholds mean here is not known yet: let it count for " +
          "some days, then run this again."));
      }
    };
    input.addEventListener("change", show);
    show();
    return [make("label", {}, "How many people stand before the camera on a day, about?", input), box];
  },

  pagers(step) {
    const pre = make("pre", { tabindex: 0, "aria-label": "For a pager" });
    told().then(({ pager }) => (pre.textContent = pager));
    return [...fields(step.questions),
      make("p", {}, "On a staff device, edge-agent pager --config staff.yaml, with this in the file:"), pre,
      make("p", { class: "quiet" }, "For phones, on a computer of the site: the package edge-agent-pager (docs/pagers.md)")];
  },

  sign() {
    const pre = make("pre", { tabindex: 0, "aria-label": "The sign" });
    const more = make("p", { class: "quiet" });
    const box = make("input", { type: "checkbox" });
    box.disabled = true; // until the sign has been shown
    box.checked = values["privacy.notice_posted"];
    told().then(({ sign, advice }) => {
      pre.textContent = sign;
      more.textContent = advice.join("; ");
      box.disabled = false;
    });
    collect = () => ({ "privacy.notice_posted": box.checked });
    return [pre, more, make("label", { class: "choice" }, box,
      "It hangs where people read it before they are in view; from now on, page staff.")];
  },

  end() {
    const pre = make("pre", { tabindex: 0, "aria-label": "What changes" });
    told().then(({ changes }) => {
      pre.textContent = changes.map(([option, before, after]) => `${option}: ${before} → ${after}`).join("\n") ||
        "nothing changed";
    });
    return [make("p", {}, `To be written to ${file} and what belongs to it:`), pre];
  },
};

// Show problems at their fields, others below; return whether there are any.
function report(problems) {
  $("said").textContent = tell($("own"), problems).join("; ");
  return Object.keys(problems).length > 0;
}

function show() {
  const step = steps[at];
  [collect, attempt, insisted] = [() => answers($("own")), async () => true, false];
  $("progress").replaceChildren(
    ...steps.map(({ title }, number) => make("li", number === at ? { "aria-current": "step" } : {}, title)),
  );
  $("title").textContent = step.title;
  $("text").textContent = step.text;
  $("said").textContent = "";
  $("own").replaceChildren(...(own[step.key] ?? (({ questions }) => fields(questions)))(step));
  $("back").hidden = at === 0;
  $("next").textContent = step.key === "end" ? "Write it" : "Next";
  $("title").focus();
}

async function next() {
  if (steps[at].key === "end") return finish();
  if (report(await send(collect()))) return;
  if (!insisted && !(await attempt())) {
    insisted = true;
    return;
  }
  at += 1;
  show();
}

async function finish() {
  const { files } = await post("/api/write");
  $("back").hidden = $("next").hidden = true;
  const pre = make("pre", { tabindex: 0, "aria-label": "What doctor says" });
  $("title").textContent = "Written";
  const written = files.length ? files.join(", ") : "nothing had to be";
  $("own").replaceChildren(make("p", {}, written), make("p", {}, "edge-agent doctor tries all of it:"), pre);
  await post("/api/doctor");
  let lines = [];
  while (!["ok", "failed"].includes(lines.at(-1))) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    lines = await ask("/api/doctor");
    pre.textContent = lines.filter((line) => !["ok", "failed"].includes(line)).join("\n");
  }
  const well = lines.at(-1) === "ok";
  const { next: commands } = await told();
  $("own").append(make("p", {}, "Next:"), make("pre", { tabindex: 0, "aria-label": "Next" }, commands.join("\n")));
  $("said").className = well ? "fine" : "problem";
  $("said").textContent = well ? "All is well. This page has ended." : "Something failed; see above. This page has ended.";
  await post("/api/end");
}

$("step").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("next").disabled = true;
  try {
    await next();
  } catch (error) {
    $("said").textContent = error.message;
  }
  $("next").disabled = false;
});
$("step").addEventListener("input", () => (insisted = false));
$("back").addEventListener("click", () => {
  at -= 1;
  show();
});
$("file").textContent = file;
show();
