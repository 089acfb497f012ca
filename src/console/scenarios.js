// A card for each scenario, made from its own schema, and the set that is put together of them.

import { $, h, left, short } from "./dom.js";
import { Refused, call, curl } from "./api.js";
import { fields } from "./form.js";
import { onLanguage, t } from "./words.js";

const START_SET = "/api/v1/composite/start";
const cards = new Map();
const set = [];
let list = [];

const envelope = () => ({ properties: { duration: { type: "string", default: undefined, description: t("duration_hint") } } });

export async function load() {
  list = (await call("GET", "/api/v1/scenarios")).scenarios;
  render();
}

export function setUp() {
  $("filter").addEventListener("input", filter);
  onLanguage(render);
}

function render() {
  cards.clear();
  for (const one of list) cards.set(one.name, card(one));
  $("cards").replaceChildren(
    h("h3", { class: "group", id: "running-group", hidden: true }, t("running")), h("div", { id: "running-cards" }),
    ...groups().flatMap((group) => [h("h3", { class: "group" }, t(group)), h("div", { id: `group-${group}` })]),
  );
  settle();
  renderSet();
  filter();
}

const groups = () => [...new Set(list.map((one) => one.group))];

/** Puts each card where it belongs, in the order of the list. */
function settle() {
  for (const one of cards.values()) if (!one.wasOn) $(`group-${one.group}`).append(one.element);
}

function filter() {
  const wanted = $("filter").value.toLowerCase();
  for (const [name, { element, about }] of cards) element.hidden = !`${name} ${about}`.toLowerCase().includes(wanted);
}

function card({ name, description, group }) {
  const figure = h("span", { class: "figure" });
  const body = h("div", {});
  const summary = h("summary", {}, h("div", { class: "head" }, h("h3", {}, name), figure), h("div", { class: "about" }, description));
  const element = h("details", { class: "card", "data-scenario": name }, summary, body);
  const one = { element, figure, body, group, about: description, wasOn: false };
  element.addEventListener("toggle", async () => {
    if (!element.open || body.childElementCount) return;
    const { params_schema } = await call("GET", `/api/v1/scenarios/${name}`);
    if (!body.childElementCount) body.append(form(name, params_schema));
  });
  return one;
}

function form(name, schema) {
  const params = fields(schema);
  const terms = fields(envelope());
  terms.element[0].querySelector("input").value = "5m";
  const path = `/api/v1/scenarios/${name}/start`;
  const request = () => ({ ...params.value(), ...terms.value() });
  const line = h("pre", { class: "curl", tabindex: "0", "aria-label": "curl" });
  const error = h("p", { class: "error", role: "alert" });
  const show = () => { line.textContent = curl(path, request()); };
  const button = (key, kind, run) => h("button", { type: kind === "main" ? "submit" : "button", class: kind, "data-do": key, click: kind === "main" ? undefined : run }, t(key));
  const run = (work) => attempt(work, [params, terms], error);
  const element = h("form", { class: "fields", novalidate: true, input: show, change: show, submit: (event) => {
    event.preventDefault();
    run(() => call("POST", path, request()));
  } }, params.element, terms.element, error, h("div", { class: "buttons" },
    button("start", "main"), button("stop", "", () => run(() => call("POST", `/api/v1/scenarios/${name}/stop`))),
    button("add", "", () => addToSet(name, params.value(), terms.value()))), line);
  show();
  return element;
}

/** Runs `work`, and puts the problems of its answer to the fields that they are of. */
async function attempt(work, forms, error) {
  error.textContent = "";
  forms.forEach((one) => one.clear());
  try {
    await work();
    return true;
  } catch (problem) {
    const errors = problem instanceof Refused ? problem.errors : [];
    const rest = forms.reduce((open, one) => one.show(open), errors);
    if (rest.length || !errors.length) error.textContent = rest.length ? rest.map((one) => `${one.pointer} ${one.detail}`).join("; ") : `${t("failed")}: ${problem.message}`;
    return false;
  }
}

function addToSet(name, params, { duration }) {
  const at = set.findIndex((one) => one.name === name);
  if (at >= 0) set.splice(at, 1);
  set.push({ name, params, ...(duration ? { duration } : {}) });
  renderSet();
}

function renderSet() {
  $("set").hidden = set.length === 0;
  const error = h("p", { class: "error", role: "alert" });
  const rows = set.map((one, at) => h("div", { class: "head" }, h("span", {}, `${one.name} `, h("span", { class: "soft" }, [JSON.stringify(one.params), one.duration].filter(Boolean).join(" · "))),
    h("button", { class: "quiet", "aria-label": `${t("remove")} ${one.name}`, click: () => { set.splice(at, 1); renderSet(); } }, "×")));
  const start = async () => {
    if (!(await attempt(() => call("POST", START_SET, { scenarios: set }), [], error))) return;
    set.length = 0;
    renderSet();
  };
  $("set").replaceChildren(h("h3", {}, t("set")), h("p", { class: "about" }, t("set_done")), ...rows, error,
    h("div", { class: "buttons" }, h("button", { class: "main", id: "start-set", click: start }, t("start_set"))),
    h("pre", { class: "curl", tabindex: "0", "aria-label": "curl" }, curl(START_SET, { scenarios: set })));
}

/** Shows what runs. */
export function update(sample) {
  const now = new Map(sample.scenarios.map((one) => [one.name, one]));
  for (const [name, one] of cards) {
    const fault = now.get(name);
    const isOn = fault !== undefined;
    if (isOn !== one.wasOn) {
      const had = one.element.contains(document.activeElement) ? document.activeElement : null;
      one.element.classList.toggle("on", isOn);
      one.wasOn = isOn;
      if (isOn) $("running-cards").append(one.element);
      else settle();
      had?.focus();
    }
    one.figure.textContent = isOn ? figure(fault, sample.time_ms) : "";
  }
  $("running-group").hidden = now.size === 0;
}

function figure(fault, now) {
  if (!fault.running) return `${t("starts_in")} ${left(Date.parse(fault.starts_at) - now)}`;
  const end = fault.expires_at ? ` · ${left(Date.parse(fault.expires_at) - now)}` : "";
  return `${short(fault.achieved)} / ${short(fault.asked)}${end}`;
}
