// One plot on a canvas: lines over time, a limit, and the values under the pointer.

import { h, clock } from "./dom.js";

const LEFT = 56;
const BOTTOM = 16;

export class Plot {
  /** `lines` are { key, label, style: one|two|asked }; `format` makes a value readable. */
  constructor(title, lines, { format, most, limit } = {}) {
    Object.assign(this, { lines, format: format ?? String, most, limit, hover: null });
    this.canvas = h("canvas", { role: "img", tabindex: "0" });
    this.values = h("span", { class: "values" });
    this.title = h("span", {}, title);
    this.element = h("figure", { class: "plot card" }, h("figcaption", {}, this.title, this.values), this.canvas);
    this.canvas.addEventListener("pointermove", (event) => { this.hover = event.offsetX; this.redraw(); });
    this.canvas.addEventListener("pointerleave", () => { this.hover = null; this.redraw(); });
  }

  redraw() {
    if (this.last) this.draw(...this.last);
  }

  /** Draws `points`, oldest first, from `from` to `to` in ms. */
  draw(points, from, to) {
    this.last = [points, from, to];
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width) return;
    const scale = devicePixelRatio;
    if (this.canvas.width !== Math.round(width * scale)) this.canvas.width = Math.round(width * scale);
    if (this.canvas.height !== Math.round(height * scale)) this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const shown = points.filter((point) => point.at >= from);
    const top = this.top(shown);
    const area = {
      x: (at) => LEFT + ((at - from) / (to - from)) * (width - LEFT - 4),
      y: (value) => height - BOTTOM - (Math.min(value, top) / top) * (height - BOTTOM - 8),
      from, to, width, height, top,
    };
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    this.grid(pen, area, colour);
    for (const line of this.lines) this.line(pen, area, shown, line, colour);
    const at = this.hover === null ? null : nearest(shown, area, this.hover);
    if (at) this.cursor(pen, area, at, colour);
    this.say(at ?? points.at(-1), at !== null);
  }

  top(shown) {
    const values = shown.flatMap((point) => this.lines.map((line) => point[line.key])).filter(Number.isFinite);
    const most = Math.max(this.most ?? 0, ...values.slice(-20000).reduce((m, v) => [Math.max(m[0], v)], [0]));
    return nice(most || 1);
  }

  grid(pen, area, colour) {
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = colour("soft");
    pen.strokeStyle = colour("line");
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(area.y(area.top * share)) + 0.5;
      pen.beginPath();
      pen.moveTo(LEFT, y);
      pen.lineTo(area.width - 4, y);
      pen.stroke();
      pen.fillText(this.format(area.top * share), LEFT - 6, y);
    }
    pen.textBaseline = "bottom";
    pen.textAlign = "left";
    if (area.width > 220) pen.fillText(clock(area.from), LEFT, area.height);
    pen.textAlign = "right";
    pen.fillText(clock(area.to), area.width - 4, area.height);
  }

  line(pen, area, shown, { key, style }, colour) {
    pen.strokeStyle = colour(style === "asked" ? "asked" : style === "two" ? "second" : style === "three" ? "warn" : "accent");
    pen.lineWidth = style === "asked" ? 1.5 : 2;
    pen.lineJoin = "round";
    pen.setLineDash(style === "asked" ? [5, 4] : []);
    pen.beginPath();
    let before = null;
    for (const point of shown) {
      const value = point[key];
      if (!Number.isFinite(value)) { before = null; continue; }
      const isNext = before !== null && point.at - before < 1200;
      if (isNext) pen.lineTo(area.x(point.at), area.y(value));
      else pen.moveTo(area.x(point.at), area.y(value));
      before = point.at;
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  cursor(pen, area, point, colour) {
    pen.strokeStyle = colour("soft");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(area.x(point.at), 4);
    pen.lineTo(area.x(point.at), area.height - BOTTOM);
    pen.stroke();
  }

  say(point, isPast) {
    const parts = this.lines.map((line) => h("span", { class: this.lines.length > 1 ? `key ${line.style}` : "" }, `${line.label()} ${this.format(point?.[line.key])}`.trim()));
    const limit = this.limit?.(point);
    if (limit) parts.push(h("span", {}, limit));
    if (isPast) parts.unshift(h("span", {}, clock(point.at)));
    this.values.replaceChildren(...parts.flatMap((part, at) => (at ? ["  ", part] : [part])));
    this.canvas.setAttribute("aria-label", `${this.title.textContent}: ${this.values.textContent}`);
  }
}

function nearest(points, area, x) {
  let best = null;
  for (const point of points) {
    if (best === null || Math.abs(area.x(point.at) - x) < Math.abs(area.x(best.at) - x)) best = point;
  }
  return best;
}

function nice(value) {
  const step = 10 ** Math.floor(Math.log10(value));
  const found = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((factor) => factor * step >= value * 0.999);
  return found * step;
}
