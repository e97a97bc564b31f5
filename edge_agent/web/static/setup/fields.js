// Questions as fields of a form, and what was answered in them.

import { make } from "../common.js";

const FIELDS = "label > [name]:not([type=radio])";

function control(question, value) {
  if (question.kind === "choice" || question.choices.length) {
    const options = question.choices.map((one) => {
      const option = make("option", { value: one }, one);
      option.selected = one === String(value);
      return option;
    });
    return make("select", {}, ...options);
  }
  if (question.kind === "yes") {
    const box = make("input", { type: "checkbox" });
    box.checked = value;
    return box;
  }
  const type = question.kind === "password" ? "password" : "text";
  return make("input", { type, value: value ?? "", autocomplete: "off", spellcheck: "false" });
}

// A labelled field; what is wrong with its answer is shown below it.
export function field(question, value) {
  const input = control(question, value);
  input.name = question.option;
  const problem = make("span", { class: "problem", role: "alert" });
  const parts = question.kind === "yes" ? [input, question.text, problem] : [question.text, input, problem];
  return make("label", {}, ...parts);
}

// Option → text, of all fields within an element; a password that was not typed stays as it is.
export function answers(element) {
  const found = {};
  for (const input of element.querySelectorAll(FIELDS)) {
    if (input.type === "password" && !input.value) continue;
    found[input.name] = input.type === "checkbox" ? (input.checked ? "yes" : "no") : input.value;
  }
  return found;
}

// Show each problem at its field; return those that have none.
export function tell(element, problems) {
  const left = { ...problems };
  for (const input of element.querySelectorAll(FIELDS)) {
    input.parentElement.querySelector(".problem").textContent = left[input.name] ?? "";
    delete left[input.name];
  }
  return Object.entries(left).map(([option, text]) => `${option}: ${text}`);
}

// A list to choose one of; `chosen` gets its number.
export function choices(legend, labels, chosen, checked = -1) {
  const name = legend.replaceAll(" ", "-");
  const rows = labels.map((text, number) => {
    const radio = make("input", { type: "radio", name });
    radio.checked = number === checked;
    radio.addEventListener("change", () => chosen(number));
    return make("label", { class: "choice" }, radio, text);
  });
  return make("fieldset", {}, make("legend", {}, legend), ...rows);
}
