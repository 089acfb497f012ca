// What really happened: a lane for each scenario, planned behind measured, and the events in words.

import { $, clock, download, h, svg } from "./dom.js";
import { call, text } from "./api.js";
import { onLanguage, t } from "./words.js";

let sessions = [];
let events = [];
let newest = -1;
const SHOWN_MS = 900_000;

export function setUp() {
  onLanguage(render);
  $("csv").addEventListener("click", async () => download("sessions.csv", "text/csv", await text("/api/v1/sessions?format=csv")));
  $("json").addEventListener("click", () => download("sessions.json", "application/json", JSON.stringify({ sessions, events }, null, 1)));
}

/** Asks for what is new; the answer to how the last process ended is its boot event. */
export async function load() {
  const page = await call("GET", `/api/v1/events?limit=10000${newest > 0 ? `&since=${newest}` : ""}`);
  if (page.events.length || newest < 0) {
    events = [...events, ...page.events].slice(-2000);
    newest = page.next;
  }
  sessions = (await call("GET", "/api/v1/sessions")).sessions;
  render();
}

export const lastBoot = () => events.findLast((event) => event.kind === "boot");

function render() {
  const to = Date.now();
  const runs = sessions.flatMap((session) => session.runs);
  // Two minutes at least; not more than there is.
  const first = Math.min(to - 120_000, ...runs.map((run) => Date.parse(run.started_at ?? run.planned?.from ?? to)));
  const from = Math.max(to - SHOWN_MS, first);
  const names = [...new Set(runs.filter((run) => Date.parse(run.ended_at ?? run.planned?.to ?? to) > from || !run.ended_at).map((run) => run.scenario))];
  const x = (time) => `${Math.min(100, Math.max(0, ((Date.parse(time) - from) / (to - from)) * 100))}%`;
  const lane = (name) => h("div", { class: "lane" }, h("span", {}, name), svg("svg", { role: "img", "aria-label": name }, ...runs.filter((run) => run.scenario === name).flatMap((run) => bars(run, x, to))));
  const axis = h("div", { class: "axis" }, h("span", {}, clock(from)), h("span", {}, `▒ ${t("planned")}  █ ${t("measured")}`), h("span", {}, clock(to)));
  $("lanes").replaceChildren(...(names.length ? [...names.map(lane), axis] : [h("span", { class: "soft" }, t("no_events"))]));
  $("sessions").replaceChildren(table());
  $("events").replaceChildren(...events.slice(-200).reverse().map(row));
}

function bars(run, x, now) {
  const bar = (from, to, kind, y, height) => {
    const [a, b] = [parseFloat(x(from)), parseFloat(x(to))];
    return svg("rect", { class: kind, x: `${a}%`, width: `${Math.max(b - a, 0.3)}%`, y, height, rx: 2 }, svg("title", {}, document.createTextNode(`${run.scenario} ${t(kind)} ${clock(Date.parse(from))} – ${clock(Date.parse(to))}`)));
  };
  const end = run.ended_at ?? new Date(now).toISOString();
  const planned = run.planned ? [bar(run.planned.from, run.planned.to ?? end, "planned", 2, 20)] : [];
  return [...planned, ...(run.measured ?? []).map(({ from, to }) => bar(from, to ?? end, "measured", 7, 10))];
}

function table() {
  const ended = sessions.filter((session) => !session.running).slice(0, 8);
  if (!ended.length) return h("span", {});
  const head = ["began", "ended", "scenario", "how"].map((key) => h("th", { scope: "col" }, t(key)));
  const rows = ended.map((session) => h("tr", {}, [
    new Date(session.started_at).toLocaleString(), session.ended_at ? clock(Date.parse(session.ended_at)) : "–",
    session.runs.map((run) => run.scenario).join(", "), [...new Set(session.runs.map((run) => run.end ?? "–"))].join(", "),
  ].map((value) => h("td", {}, value))));
  return h("details", { class: "card", open: true }, h("summary", {}, t("past")), h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
}

function row(event) {
  const figures = [event.scenario, event.reason, event.asked === undefined ? null : `${event.achieved ?? "–"} / ${event.asked} ${event.unit ?? ""}`].filter(Boolean).join(" · ");
  return h("li", { title: JSON.stringify(event, null, 1) }, `${clock(Date.parse(event.time))} `, h("strong", {}, event.kind), ` ${figures}`);
}
