// The small drawing of a value over time, as it is typed.

const CURVES = {
  ramp: (v) => [[0, v.from], [v.over_s, v.to], [v.over_s * 1.3, v.to]],
  decay: (v) => sampled(v.half_s * 5, (s) => v.to + (v.from - v.to) * 0.5 ** (s / v.half_s)),
  square: (v) => sampled(v.period_s * 3, (s) => (s % v.period_s < v.period_s * (v.duty ?? 0.5) ? v.high : v.low)),
  sine: (v) => sampled(v.period_s * 3, (s) => (v.high + v.low) / 2 + ((v.high - v.low) / 2) * Math.sin((2 * Math.PI * s) / v.period_s)),
  steps: (v) => {
    const points = [];
    let at = 0;
    for (const step of Array.isArray(v) ? v : v.steps ?? []) {
      points.push([at, step.value]);
      at += step.for_s ?? step.s ?? 1;
      points.push([at, step.value]);
    }
    return points;
  },
};

const sampled = (end, of) => Array.from({ length: 121 }, (_, i) => [(end * i) / 120, of((end * i) / 120)]);

/** Draws what is known of `shape`; nothing where its numbers are not all there. */
export function draw(canvas, name, value) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width) return;
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const points = value && CURVES[name] ? CURVES[name](value) : [];
  if (points.length < 2 || points.flat().some((n) => !Number.isFinite(n))) return;
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [low, high, end] = [Math.min(0, ...ys), Math.max(...ys) || 1, Math.max(...xs) || 1];
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  pen.strokeStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  pen.lineWidth = 2;
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(2 + (x / end) * (width - 4), height - 3 - ((y - low) / (high - low || 1)) * (height - 6));
  pen.stroke();
}
