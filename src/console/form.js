// A form from a JSON schema. Each field knows its pointer, its value and how it shows a problem. Nothing here knows a scenario.

import { h } from "./dom.js";
import { t } from "./words.js";
import { draw } from "./shapes.js";

let ids = 0;
const typesOf = (schema) => [schema.type ?? []].flat();
const isNumber = (schema) => typesOf(schema).some((type) => type === "number" || type === "integer");
const readNumber = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text.trim());
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Fields of an object's schema. `value()` has what differs from the defaults; `show(errors)` puts problems to fields. */
export function fields(schema, pointer = "") {
  const all = Object.entries(schema.properties ?? {}).map(([name, of]) => {
    const resolved = of.anyOf && !of.type ? { ...of, ...of.anyOf.find((form) => form.type) , description: of.description } : of;
    return { name, required: schema.required?.includes(name), ...field(name, resolved, `${pointer}/${name}`) };
  });
  const value = () => {
    const result = {};
    for (const { name, read } of all) {
      const own = read();
      if (own !== undefined) result[name] = own;
    }
    return result;
  };
  const show = (errors) => errors.filter((error) => !all.some((one) => one.show(error)));
  const clear = () => all.forEach((one) => one.clear());
  return { element: all.map((one) => one.element), value, show, clear };
}

function field(name, schema, pointer) {
  if (schema.properties && isNumber(schema)) return shaped(name, schema, pointer);
  if (schema.properties) return nested(name, schema, pointer);
  const control = controlOf(schema);
  const id = `f${(ids += 1)}`;
  const input = control.input;
  input.id = id;
  const error = h("p", { class: "error", id: `${id}e`, hidden: true });
  const hint = h("p", { class: "hint", id: `${id}h` }, schema.description ?? "");
  input.setAttribute("aria-describedby", `${id}h ${id}e`);
  const unit = [schema.unit, schema.default === undefined ? t("optional") : null].filter(Boolean).join(" · ");
  const label = h("label", { for: id }, name, h("span", { class: "unit" }, unit));
  const element = h("div", { class: "field", "data-pointer": pointer }, label, control.element, hint, error);
  return { element, ...problems(element, error, pointer, input), read: () => {
    const value = control.read();
    return value === "" || value === undefined || same(value, schema.default) ? undefined : value;
  } };
}

function problems(element, error, pointer, input) {
  return {
    show(problem) {
      if (problem.pointer !== pointer && !problem.pointer.startsWith(`${pointer}/`)) return false;
      element.classList.add("bad");
      error.textContent = problem.detail;
      error.hidden = false;
      input?.setAttribute("aria-invalid", "true");
      input?.focus();
      return true;
    },
    clear() {
      element.classList.remove("bad");
      error.hidden = true;
      input?.removeAttribute("aria-invalid");
    },
  };
}

function controlOf(schema) {
  const choices = schema.enum ?? (schema.anyOf ?? []).flatMap((form) => form.enum ?? []);
  if (choices.length && !isNumber(schema)) return choice(choices, schema.default);
  if (typesOf(schema).includes("boolean")) return flag(schema);
  if (isNumber(schema)) return number(schema);
  if (typesOf(schema).includes("array")) return list(schema);
  if (typesOf(schema).includes("object") || !schema.type) return json(schema);
  const input = h("input", { type: "text", value: schema.default ?? "", spellcheck: "false", autocomplete: "off" });
  return { input, element: input, read: () => input.value };
}

function choice(choices, preset) {
  const none = preset === undefined ? [h("option", { value: "" }, "–")] : [];
  const input = h("select", {}, none, choices.map((one) => h("option", { value: one, selected: one === preset }, String(one))));
  return { input, element: input, read: () => input.value };
}

function flag(schema) {
  const input = h("input", { type: "checkbox" });
  input.checked = schema.default === true;
  return { input, element: input, read: () => (schema.default === undefined && !input.checked ? undefined : input.checked) };
}

/** A slider beside its number. Wide ranges get a scale that is fine near the bottom. */
function number(schema) {
  const [low, high] = [schema.minimum ?? 0, schema.maximum];
  const input = h("input", { type: "text", inputmode: "decimal", value: schema.default ?? "", autocomplete: "off" });
  if (!Number.isFinite(high) || high > 1e7) return { input, element: input, read: () => readNumber(input.value) };
  const power = high - low > 1000 ? 4 : 1;
  const isWhole = !typesOf(schema).includes("number");
  const slider = h("input", { type: "range", min: 0, max: 1000, "aria-hidden": "true", tabindex: "-1" });
  const toSlider = () => { slider.value = 1000 * Math.max(0, (Number(input.value || low) - low) / (high - low)) ** (1 / power); };
  const rounded = (value) => (isWhole || high - low >= 50 ? Math.round(value) : Number(value.toPrecision(2)));
  slider.addEventListener("input", () => {
    const value = rounded(low + (high - low) * (slider.value / 1000) ** power);
    input.value = Math.min(high, Math.max(value, low));
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  input.addEventListener("input", toSlider);
  toSlider();
  return { input, element: h("div", { class: "row" }, slider, input), read: () => readNumber(input.value) };
}

function list(schema) {
  const choices = schema.items?.enum;
  if (!choices) {
    const input = h("input", { type: "text", value: (schema.default ?? []).map((one) => (typeof one === "object" ? JSON.stringify(one) : one)).join(", "), autocomplete: "off" });
    return { input, element: input, read: () => {
      const text = input.value.trim();
      if (text.startsWith("[") || text.startsWith("{")) return parsed(text);
      const all = text.split(",").map((one) => one.trim()).filter(Boolean);
      const values = schema.items && isNumber(schema.items) ? all.map(readNumber) : all;
      return values.length ? values : schema.default;
    } };
  }
  const boxes = choices.map((one) => h("input", { type: "checkbox", value: one }));
  const input = h("div", { class: "checks", role: "group" }, boxes.map((box) => h("label", {}, box, " ", box.value)));
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.value);
  return { input, element: input, read: () => (chosen().length ? chosen() : undefined) };
}

function json(schema) {
  const input = h("input", { type: "text", value: schema.default === undefined ? "" : JSON.stringify(schema.default), spellcheck: "false", autocomplete: "off" });
  return { input, element: input, read: () => (input.value.trim() ? parsed(input.value) : undefined) };
}

/** What is no JSON goes to the daemon as text: its answer says what is wrong. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function nested(name, schema, pointer) {
  const inner = fields(schema, pointer);
  const error = h("p", { class: "error", hidden: true });
  const element = h("details", { class: "field" }, h("summary", {}, name), h("p", { class: "hint" }, schema.description ?? ""), h("fieldset", { class: "field" }, h("legend", {}, name), inner.element), error);
  const own = problems(element, error, pointer);
  return {
    element,
    clear() { inner.clear(); own.clear(); },
    show(problem) {
      if (!problem.pointer.startsWith(pointer)) return false;
      element.open = true;
      return inner.show([problem]).length === 0 || own.show(problem);
    },
    read() {
      const value = inner.value();
      return Object.keys(value).length ? value : undefined;
    },
  };
}

/** A number, or one of the shapes over time. */
function shaped(name, schema, pointer) {
  const { properties, description, ...plain } = schema;
  const kinds = Object.entries(properties).filter(([, of]) => typesOf(of).includes("object") || typesOf(of).includes("array"));
  const constant = field(name, { ...plain, description, type: "number" }, pointer);
  const select = h("select", { "aria-label": `${name}: ${t("shape")}` }, h("option", { value: "" }, t("constant")), kinds.map(([kind]) => h("option", { value: kind }, kind)));
  const canvas = h("canvas", { class: "shape", hidden: true, "aria-hidden": "true" });
  const body = h("div", {});
  const element = h("div", { class: "field" }, constant.element, select, canvas, body);
  let inner = null;
  const read = () => {
    const kind = select.value;
    return kind ? { [kind]: inner.value() } : constant.read();
  };
  const preview = () => inner && draw(canvas, select.value, inner.value());
  select.addEventListener("change", () => {
    const kind = select.value;
    constant.element.hidden = kind !== "";
    canvas.hidden = kind === "";
    const of = properties[kind];
    inner = null;
    if (kind) inner = of.properties ? fields(of, `${pointer}/${kind}`) : wholeValue(kind, of, `${pointer}/${kind}`);
    body.replaceChildren(...(inner ? [h("div", { class: "hint" }, `${name}: ${of.description ?? ""}`), ...[inner.element].flat()] : []));
  });
  element.addEventListener("input", preview);
  return { element, read, clear() { constant.clear(); inner?.clear(); }, show(problem) {
    if (!problem.pointer.startsWith(pointer)) return false;
    return (inner !== null && inner.show([problem]).length === 0) || constant.show(problem);
  } };
}

/** The fields of a value that is no object with members. */
function wholeValue(name, schema, pointer) {
  const one = field(name, schema, pointer);
  return { element: [one.element], value: () => one.read() ?? [], clear: one.clear, show: (errors) => errors.filter((error) => !one.show(error)) };
}
