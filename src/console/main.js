// The page's one loop: it reads the stream, and shows what to do when there is none.

import { $, clock, h, left } from "./dom.js";
import { call, setToken, stream, whenTokenIsNeeded } from "./api.js";
import { onLanguage, switchLanguage, t, translate } from "./words.js";
import * as plots from "./plots.js";
import * as scenarios from "./scenarios.js";
import * as timeline from "./timeline.js";

let sample = null;
let goneSince = null;
let isLoaded = false;
let newestRun = "";
let seenAt = Infinity;
let isSlow = false;

// A sample comes four times a second; a listener that is slowed down sends it late.
const SLOW_MS = 1500;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const isTyping = (target) => target.closest("input:not([type=checkbox]):not([type=range]), select, textarea") !== null;

function header() {
  if (!sample) return;
  const now = sample.time_ms;
  $("service").textContent = sample.service;
  $("version").textContent = sample.version;
  document.title = `${sample.scenarios.length ? "● " : ""}${sample.service}`;
  const state = goneSince ? "gone" : sample.halted_since ? "halted" : sample.state;
  $("state").textContent = t(state);
  $("state").className = `pill ${{ ready: "", not_ready: "warn", halted: "bad", gone: "bad" }[state]}`;
  $("halt").textContent = t(sample.halted_since ? "rearm" : "halt");
  const session = sample.session;
  const parts = session ? [session.scenarios.join(", "),
    session.expires_at ? `${t("ends_in")} ${left(Date.parse(session.expires_at) - now)}` : t("until_stopped"),
    session.lease_expires_at ? `${t("lease_ends_in")} ${left(Date.parse(session.lease_expires_at) - now)}` : ""] : [t("nothing_runs")];
  $("session").textContent = parts.filter(Boolean).join(" · ");
}

async function act(path) {
  try {
    await call("POST", path);
    say("");
  } catch (problem) {
    say(`${t("failed")}: ${problem.message}`);
  }
}

function say(...parts) {
  $("gone").replaceChildren(...parts);
  $("gone").hidden = $("gone").textContent === "";
}

/** Where a fault slows this listener down, the way to the one that none slows down. */
function watchOver() {
  const isLate = Date.now() - seenAt > SLOW_MS && goneSince === null;
  if (isLate === isSlow) return;
  isSlow = isLate;
  say(...(isLate ? wayOut() : []));
}

function wayOut() {
  if (!sample?.admin) return [t("slow")];
  const port = sample.admin.split(":").pop();
  if (port === location.port) return [t("slow")];
  const isNear = /^(127\.|\[::1\]|localhost$)/.test(location.hostname);
  const isLoopback = /^(127\.|\[::1\])/.test(sample.admin);
  const url = `http://${location.hostname}:${port}/`;
  const way = isNear || !isLoopback ? h("a", { href: url }, url) : sample.admin;
  return [`${t("slow")} ${t("way_out")} `, way];
}

async function load() {
  await Promise.all([scenarios.load(), timeline.load()]);
  isLoaded = true;
}

function show(next) {
  const isNew = goneSince !== null;
  sample = next;
  seenAt = Date.now();
  goneSince = null;
  header();
  plots.add(next);
  scenarios.update(next);
  const runs = next.scenarios.map((one) => `${one.name}${one.expires_at}${one.running}`).join();
  if (runs !== newestRun || isNew) {
    newestRun = runs;
    timeline.load().then(() => isNew && back()).catch(() => {});
  }
}

/** A process that answers again says how the one before it ended. */
function back() {
  const { end, because } = timeline.lastBoot()?.boot?.previous ?? {};
  const text = end ? ` ${t("last_end", because ? `${end}, ${because}` : end)}` : "";
  say(t("back_text") + text);
}

async function follow() {
  for (;;) {
    try {
      if (!isLoaded) await load();
      await stream("/api/v1/live", show);
    } catch (problem) {
      if (problem.status === 401) {
        await new Promise((done) => { follow.again = done; });
        continue;
      }
    }
    if (sample && goneSince === null) {
      goneSince = Date.now();
      header();
    }
    if (goneSince) say(t("gone_text", clock(goneSince)));
    await pause(500);
  }
}

function theme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  plots.draw();
}

function setUp() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const bySystem = () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; };
  bySystem();
  dark.addEventListener("change", bySystem);
  $("theme").addEventListener("click", theme);
  $("language").addEventListener("click", switchLanguage);
  $("stop").addEventListener("click", () => act("/api/v1/composite/stop"));
  $("halt").addEventListener("click", () => act(sample?.halted_since ? "/api/v1/rearm" : "/api/v1/halt"));
  addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "s" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    event.preventDefault();
    act("/api/v1/composite/stop");
  });
  whenTokenIsNeeded(() => { $("token-form").hidden = false; });
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken($("token").value);
    $("token-form").hidden = true;
    follow.again?.();
  });
  onLanguage(() => { $("language").textContent = t("language"); header(); });
}

setUp();
setInterval(watchOver, 500);
plots.setUp();
scenarios.setUp();
timeline.setUp();
translate();
follow();
setInterval(() => { if (sample?.scenarios.length && !goneSince) timeline.load().catch(() => {}); }, 3000);
