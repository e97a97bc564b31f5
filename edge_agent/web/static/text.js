// What people read, in their language: the server hands out the catalogue of the language that the browser asks for.

const ENGLISH = { language: "en", messages: {} };
const { language, messages } = await fetch("/text.json").then((answer) => answer.json()).catch(() => ENGLISH);
const rules = new Intl.PluralRules(language);
// A gettext catalogue has its plural forms in this order.
const categories = ["zero", "one", "two", "few", "many", "other"].filter((category) =>
  rules.resolvedOptions().pluralCategories.includes(category)
);

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// For times and numbers: the reader's own region, where it has that language.
export const locale = navigator.languages.find((one) => one.split("-")[0] === language) ?? language;

// `{name}` in a text is replaced by the value of that name.
export function _(text, values = {}) {
  return fill(messages[text]?.[0] ?? text, values);
}

export function ngettext(one, many, n, values = {}) {
  const forms = messages[one];
  const form = forms ? forms[Math.min(categories.indexOf(rules.select(n)), forms.length - 1)] : n === 1 ? one : many;
  return fill(form, { n, ...values });
}
