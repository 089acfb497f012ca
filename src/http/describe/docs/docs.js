"use strict";

// Makes each call runnable. Whatever comes from the daemon is set as text, never as HTML.

const LONGEST_SHOWN = 200_000;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (selector, within = document) => within.querySelector(selector);

const token = one("#token");
const enders = all("form[data-ends-process]").map((form) => form.dataset.endsProcess);

// === A call, as the form has it ===

const bodyOf = (form) => form.elements.body?.value.trim() || "";
const parsed = (text) => {
  try { return JSON.parse(text); } catch { return undefined; }
};

const callOf = (form) => {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = {};
  for (const field of all("[data-in]", form)) {
    if (field.dataset.in === "path") {
      path = path.replace(`{${field.name}}`, encodeURIComponent(field.value || field.name.toUpperCase()));
    } else if (field.value !== "") {
      if (field.dataset.in === "query") query.append(field.name, field.value);
      else headers[field.name] = field.value;
    }
  }
  const asked = query.toString();
  return { method: form.dataset.method, path: asked ? `${path}?${asked}` : path, headers, body: bodyOf(form) };
};

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const curlOf = (form, { method, path, headers, body }) => {
  const address = `${location.origin}${path}`;
  const parts = [`curl${method === "POST" ? " -X POST" : ""} ${/^[\w./:%-]+$/.test(address) ? address : quoted(address)}`];
  for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  // The variable and not the token: lines are copied to places where a secret must not be.
  if (token && "secured" in form.dataset) parts.push(`-H "Authorization: Bearer $TOKEN"`);
  if (body) {
    const value = parsed(body);
    parts.push(`-d ${quoted(value === undefined ? body : JSON.stringify(value))}`);
  }
  return parts.join(" \\\n  ");
};

// === Before a call that ends the process ===

const endsProcess = (form, body) => {
  const value = parsed(body) || {};
  if (value.dry_run === true) return undefined;
  const names = form.dataset.endsProcess ? [form.dataset.endsProcess] : [value.scenarios].flat().map((entry) => entry?.name);
  return names.find((name) => enders.includes(name));
};

const confirmed = (text) => new Promise((resolve) => {
  const dialog = one("#ask");
  one("#ask-text").textContent = text;
  const answer = (event) => { dialog.close(event.currentTarget.value); };
  const buttons = all("button", dialog);
  for (const button of buttons) button.onclick = answer;
  dialog.returnValue = "no";
  dialog.onclose = () => resolve(dialog.returnValue === "yes");
  dialog.showModal();
  buttons[0].focus();
});

// === Running ===

const pretty = (text, type) => {
  const value = type.includes("json") ? parsed(text) : undefined;
  return value === undefined ? text : JSON.stringify(value, null, 2);
};
const shown = (text) =>
  text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}\n… ${text.length - LONGEST_SHOWN} more characters` : text;

// A stream is shown as it comes.
const read = async (response, show) => {
  const type = response.headers.get("content-type") || "";
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
    if (type.startsWith("text/event-stream")) {
      text = text.slice(-LONGEST_SHOWN);
      show(text);
    }
  }
  show(shown(pretty(text, type)));
};

const run = async (form) => {
  const call = callOf(form);
  const ender = endsProcess(form, call.body);
  if (ender && !await confirmed(`${ender} ends the process of this daemon. Run it?`)) return;
  const result = one(".result", form.parentElement);
  const status = one(".status", result);
  const answer = one(".answer", result);
  const [start, cancel] = [one("[type=submit]", form), one(".cancel", form)];
  const abort = new AbortController();
  cancel.onclick = () => abort.abort();
  const say = (text, kind) => { status.textContent = text; status.className = `status ${kind}`; };

  const headers = { ...call.headers };
  if (token?.value && "secured" in form.dataset) headers.Authorization = `Bearer ${token.value}`;
  if (call.body) headers["Content-Type"] = "application/json";
  result.hidden = false;
  answer.textContent = "";
  say(`${call.method} ${call.path} …`, "");
  start.disabled = true;
  cancel.hidden = false;
  const from = performance.now();
  try {
    const options = { method: call.method, headers, body: call.body || undefined, signal: abort.signal, cache: "no-store" };
    const response = await fetch(call.path, options);
    const took = Math.round(performance.now() - from);
    const type = response.headers.get("content-type") || "no content";
    say(`${response.status} ${response.statusText} · ${took} ms · ${type}`, response.ok ? "good" : "bad");
    await read(response, (text) => { answer.textContent = text; });
  } catch (error) {
    if (abort.signal.aborted) say(`${status.textContent} · cancelled`, "");
    else say(`No answer: ${error.message}`, "bad");
  } finally {
    start.disabled = false;
    cancel.hidden = true;
  }
};

// === The page ===

const copy = async (button, text) => {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // The clipboard is refused; the line can still be selected.
    button.textContent = "Select the line and copy it";
  }
  setTimeout(() => { button.textContent = label; }, 1500);
};

for (const form of all("form.run")) {
  const line = one(".curl", form.parentElement);
  const update = () => { line.textContent = curlOf(form, callOf(form)); };
  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => { event.preventDefault(); run(form); });
  one(".copy", form).addEventListener("click", (event) => copy(event.currentTarget, line.textContent));
  // Ctrl+Enter runs from the body, where Enter is a new line.
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  update();
}
if (token) token.parentElement.hidden = false;

const filter = one("#filter");
filter.hidden = false;
filter.addEventListener("input", () => {
  const wanted = filter.value.trim().toLowerCase();
  filter.parentElement.classList.toggle("filtered", wanted !== "");
  for (const block of all(".operation")) {
    block.hidden = !one("summary", block).textContent.toLowerCase().includes(wanted);
    const link = one(`nav a[href="#${one(".inside", block).id}"]`);
    link.parentElement.hidden = block.hidden;
  }
  for (const section of all("main section")) {
    const blocks = all(".operation", section);
    if (blocks.length) section.hidden = blocks.every((block) => block.hidden);
  }
});

// Browsers open what a link leads to; not each does it for the address of the page.
const open = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const block = target?.closest("details.operation");
  if (block) {
    block.open = true;
    block.scrollIntoView();
  }
};
addEventListener("hashchange", open);
open();
