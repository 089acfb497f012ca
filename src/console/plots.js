// Which plots there are, and the last 15 minutes that they show.

import { $, bytes, short } from "./dom.js";
import { Plot } from "./plot.js";
import { onLanguage, t } from "./words.js";

const KEPT_MS = 900_000;
const service = [];
const faults = new Map();
let isPaused = false;
let pausedAt = 0;

const percent = (value) => (Number.isFinite(value) ? `${short(value * 100)}%` : "–");
const ms = (value) => (Number.isFinite(value) ? `${short(value)} ms` : "–");
const word = (key) => () => t(key);
const none = () => "";

const PLOTS = [
  ["requests", [{ key: "per_s", label: none, style: "one" }], { format: short, limit: word("per_s") }],
  ["errors", [{ key: "error_share", label: none, style: "one" }], { format: percent, most: 1 }],
  ["latency", [{ key: "p50_ms", label: () => "p50", style: "one" }, { key: "p99_ms", label: () => "p99", style: "two" }], { format: ms }],
  ["cpu", [{ key: "cpu", label: none, style: "one" }], { format: percent, most: 1, limit: (p) => `${t("limit")} ${t("cores", short(p?.cpu_limit_cores))}` }],
  ["memory", [{ key: "memory_bytes", label: none, style: "one" }], { format: bytes, limit: (p) => (p?.memory_limit_bytes ? `${t("limit")} ${bytes(p.memory_limit_bytes)}` : "") }],
  ["counts", [{ key: "threads", label: word("threads"), style: "one" }, { key: "tasks", label: word("tasks"), style: "two" }, { key: "open_files", label: word("files"), style: "three" }], { format: short }],
].map(([key, lines, options]) => ({ key, plot: new Plot(t(key), lines, options) }));

export function setUp() {
  $("plots").replaceChildren(...PLOTS.map(({ plot }) => plot.element));
  $("span").addEventListener("change", draw);
  $("pause").addEventListener("click", () => {
    isPaused = !isPaused;
    pausedAt = service.at(-1)?.at ?? Date.now();
    $("pause").dataset.t = isPaused ? "resume" : "pause";
    $("pause").textContent = t($("pause").dataset.t);
    $("pause").setAttribute("aria-pressed", String(isPaused));
    draw();
  });
  onLanguage(() => PLOTS.forEach(({ key, plot }) => { plot.title.textContent = t(key); }));
  addEventListener("resize", draw);
}

/** Keeps one sample of the stream. */
export function add(sample) {
  const at = sample.time_ms;
  const { process, requests } = sample;
  service.push({ at, ...requests, ...process, cpu: process.cpu_cores / process.cpu_limit_cores });
  for (const fault of sample.scenarios) {
    if (!fault.running) continue;
    const { points, plot } = plotOf(fault);
    points.push({ at, asked: fault.asked, achieved: fault.achieved });
    plot.limit = () => fault.unit + (fault.shortfall ? ` · ${t("short_by")}: ${fault.shortfall}` : "");
  }
  forget(at - KEPT_MS);
  if (!isPaused) draw();
}

function plotOf(fault) {
  if (!faults.has(fault.name)) {
    const lines = [{ key: "asked", label: word("asked"), style: "asked" }, { key: "achieved", label: word("achieved"), style: "one" }];
    const plot = new Plot(fault.name, lines, { format: short, most: 1e-9 });
    plot.element.dataset.scenario = fault.name;
    faults.set(fault.name, { points: [], plot });
    $("faults").append(plot.element);
  }
  return faults.get(fault.name);
}

function forget(before) {
  const cut = (points) => { while (points.length && points[0].at < before) points.shift(); };
  cut(service);
  for (const [name, { points, plot }] of faults) {
    cut(points);
    if (!points.length) {
      plot.element.remove();
      faults.delete(name);
    }
  }
}

export function draw() {
  if (document.hidden) return;
  const to = isPaused ? pausedAt : service.at(-1)?.at ?? Date.now();
  // A minute at least; not more than there is.
  const began = Math.min(service[0]?.at ?? to, to - 60_000);
  const from = Math.max(began, to - Number($("span").value) * 1000);
  for (const { plot } of PLOTS) plot.draw(service, from, to);
  for (const { points, plot } of faults.values()) {
    plot.element.hidden = points.at(-1).at < from;
    plot.draw(points, from, to);
  }
}
