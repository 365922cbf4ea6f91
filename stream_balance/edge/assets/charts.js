// What the live page draws with: elements, words, charts over time, bars, tables. Text enters as text only: ids and
// names come from outside. `seen.points` are the moments that charts show; the page fills it.
const SVG = "http://www.w3.org/2000/svg";
export const byId = (id) => document.getElementById(id);
export const seen = { points: [] };

// -- making elements

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  return fill(element, attributes, children);
}
export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}
function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

// -- words

export const missing = (value) => value === null || value === undefined;
export function number(value, digits = 3) {
  if (missing(value)) return "–";
  if (Number.isInteger(value) && digits === 3) return value.toLocaleString("en");
  return value.toFixed(digits);
}
export const percent = (value, digits = 1) => (missing(value) ? "–" : `${(100 * value).toFixed(digits)} %`);
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export function span(seconds) {
  if (missing(seconds)) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400).toLocaleString("en")} days`;
}
export const ratio = (a, b) => (b ? a / b : null);

// -- charts

const W = 340, H = 130, LEFT = 44, RIGHT = 6, TOP = 8, BOTTOM = 18;

/** A value's two edges, two standard errors below and above it, where the line has errors. */
function edges(point, line) {
  const value = point[line.key], error = line.error ? point[line.error] : null;
  return missing(value) || missing(error) ? [] : [value - 2 * error, value + 2 * error];
}

/** Lines over time. series: [{name, key, error?}]; options: {low, high, rule, marks}. Reads `points` when drawn. */
export class Chart {
  constructor(title, series, show, options = {}) {
    Object.assign(this, { title, series, show, options, at: null });
    this.caption = make("figcaption");
    this.svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, tabindex: "0", role: "img" });
    this.element = make("figure", {}, make("h3", {}, title), this.svg, this.caption);
    this.svg.addEventListener("pointermove", (event) => {
      const box = this.svg.getBoundingClientRect();
      this.point(this.nearest(((event.clientX - box.left) / box.width) * W));
    });
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }
  nearest(x) {
    if (!seen.points.length) return null;
    let best = 0;
    seen.points.forEach((point, i) => { if (Math.abs(this.x(point.t) - x) < Math.abs(this.x(seen.points[best].t) - x)) best = i; });
    return best;
  }
  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !seen.points.length) return;
    event.preventDefault();
    const from = this.at ?? seen.points.length - 1;
    this.point(Math.max(0, Math.min(seen.points.length - 1, from + steps[event.key])));
    byId("spoken").textContent = `${this.title}, ${this.reading(seen.points[this.at])}`;
  }
  point(at) { this.at = at; this.update(); }
  reading(point) {
    const values = this.series.map((line) => `${line.name} ${this.told(point, line)}`);
    return `${clock(point.t)}: ${values.join(", ")}`;
  }
  told(point, line) {
    const error = line.error ? point[line.error] : null;
    return this.show(point[line.key]) + (missing(error) || missing(point[line.key]) ? "" : ` ± ${this.show(2 * error).replace("+", "")}`);
  }
  x(t) {
    const first = seen.points[0].t, width = Math.max(1e-9, seen.points[seen.points.length - 1].t - first);
    return LEFT + ((t - first) / width) * (W - LEFT - RIGHT);
  }
  update() {
    const values = seen.points.flatMap((point) => this.series.flatMap((line) => [point[line.key], ...edges(point, line)])).filter((value) => !missing(value));
    this.svg.replaceChildren();
    if (values.length < 2) {
      this.svg.append(draw("text", { x: W / 2, y: H / 2, "text-anchor": "middle" }, "not enough labels yet"));
      this.svg.setAttribute("aria-label", `${this.title}: no figures yet`);
      this.caption.textContent = "";
      return;
    }
    let low = Math.min(...values, this.options.rule ?? Infinity, this.options.low ?? Infinity);
    let high = Math.max(...values, this.options.rule ?? -Infinity);
    if (high - low < 1e-9) { high += 0.5 * Math.abs(high) || 1; }
    const y = (value) => TOP + ((high - value) / (high - low)) * (H - TOP - BOTTOM);
    for (const value of [low, (low + high) / 2, high]) {
      this.svg.append(
        draw("line", { class: "rule", x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value) }),
        draw("text", { x: LEFT - 4, y: y(value) + 4, "text-anchor": "end" }, this.show(value).replace(" %", "%").replace("+", "")));
    }
    if (!missing(this.options.rule)) {
      this.svg.append(draw("line", { class: "cursor", x1: LEFT, x2: W - RIGHT, y1: y(this.options.rule), y2: y(this.options.rule) }));
    }
    for (const [t, kind] of this.options.marks ? marks() : []) {
      this.svg.append(draw("line", { class: kind, x1: this.x(t), x2: this.x(t), y1: TOP, y2: H - BOTTOM }));
    }
    this.series.forEach((line, i) => {
      const sure = seen.points.filter((point) => edges(point, line).length);
      if (sure.length > 1) {
        const along = (side) => (point) => `${this.x(point.t).toFixed(1)} ${y(edges(point, line)[side]).toFixed(1)}`;
        this.svg.append(draw("path", { class: `band f${i}`, d: `M${[...sure.map(along(0)), ...sure.reverse().map(along(1))].join("L")}Z` }));
      }
      let path = "", pen = false;
      for (const point of seen.points) {
        const value = point[line.key];
        if (missing(value)) { pen = false; continue; }
        path += `${pen ? "L" : "M"}${this.x(point.t).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = true;
      }
      this.svg.append(draw("path", { class: `line c${i}`, d: path }));
    });
    const first = seen.points[0], now = seen.points[seen.points.length - 1];
    this.svg.append(draw("text", { x: LEFT, y: H - 4 }, clock(first.t)), draw("text", { x: W - RIGHT, y: H - 4, "text-anchor": "end" }, clock(now.t)));
    const chosen = this.at === null ? null : seen.points[Math.min(this.at, seen.points.length - 1)];
    if (chosen) this.svg.append(draw("line", { class: "cursor", x1: this.x(chosen.t), x2: this.x(chosen.t), y1: TOP, y2: H - BOTTOM }));
    this.svg.setAttribute("aria-label",
      `${this.title}. Now ${this.series.map((line) => `${line.name} ${this.show(now[line.key])}`).join(", ")}; between ${this.show(low)} and ${this.show(high)} since ${clock(first.t)}.`);
    this.caption.replaceChildren(...(chosen ? [this.reading(chosen)] : this.series.map((line, i) => key(i, `${line.name} ${this.told(now, line)}`))));
  }
}
function key(index, text) {
  const sample = draw("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, draw("line", { class: `line c${index}`, x1: 0, x2: 26, y1: 5, y2: 5 }));
  return make("span", { class: "key" }, sample, text);
}
/** Moments at which a counter had grown, and which: what is drawn as a mark. */
const MARKS = { alarms_log_loss: "mark", alarms_label_rate: "mark", gan_releases: "mark release", gan_refusals: "mark refusal" };
function marks() {
  const found = [];
  for (let i = 1; i < seen.points.length; i++) {
    for (const [name, kind] of Object.entries(MARKS)) {
      if ((seen.points[i][name] ?? 0) > (seen.points[i - 1][name] ?? 0)) found.push([seen.points[i].t, kind]);
    }
  }
  return found;
}

/** Promised against seen: points on the diagonal are well calibrated. */
export function reliability(bins) {
  const figure = make("figure", {}, make("h3", {}, "Reliability: promised against seen"));
  const high = Math.max(1e-6, ...bins.flatMap((bin) => [bin.probability, bin.rate]));
  const x = (value) => LEFT + (value / high) * (W - LEFT - RIGHT), y = (value) => TOP + (1 - value / high) * (200 - TOP - BOTTOM);
  const svg = draw("svg", { viewBox: `0 0 ${W} 200`, role: "img", "aria-label": bins.length
    ? `Reliability curve of the window. ${bins.map((bin) => `promised ${percent(bin.probability)}, seen ${percent(bin.rate)}`).join("; ")}.`
    : "Reliability: no figures yet" });
  for (const value of [0, high / 2, high]) {
    svg.append(
      draw("line", { class: "rule", x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value) }),
      draw("text", { x: LEFT - 4, y: y(value) + 4, "text-anchor": "end" }, percent(value, 0)),
      draw("text", { x: x(value), y: 196, "text-anchor": value ? (value === high ? "end" : "middle") : "start" }, percent(value, 0)));
  }
  svg.append(draw("line", { class: "cursor", x1: x(0), y1: y(0), x2: x(high), y2: y(high) }));
  svg.append(draw("path", { class: "line c0", d: bins.map((bin, i) => `${i ? "L" : "M"}${x(bin.probability).toFixed(1)} ${y(bin.rate).toFixed(1)}`).join("") }));
  bins.forEach((bin) => svg.append(draw("circle", { class: "f0", r: 3.5, cx: x(bin.probability), cy: y(bin.rate) })));
  figure.append(svg, make("figcaption", {}, "Across: mean probability of a tenth of the window's rows. Up: how many had an outcome. On the diagonal is right."));
  return figure;
}

/** Shares as bars with their numbers. rows: [[name, share, class index]] */
export function bars(title, rows, note) {
  const high = Math.max(1e-9, ...rows.map((row) => row[1] ?? 0)), height = rows.length * 30 + 4;
  const svg = draw("svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": `${title}. ${rows.map((row) => `${row[0]} ${percent(row[1])}`).join(", ")}.` });
  rows.forEach(([name, share, index], i) => {
    svg.append(
      draw("text", { x: 0, y: i * 30 + 11 }, name),
      draw("rect", { class: "f" + index, x: 0, y: i * 30 + 15, height: 9, rx: 2, width: Math.max(1, ((share ?? 0) / high) * (W - 62)) }),
      draw("text", { x: Math.max(1, ((share ?? 0) / high) * (W - 62)) + 6, y: i * 30 + 24 }, percent(share)));
  });
  return make("figure", {}, make("h3", {}, title), svg, make("figcaption", {}, note));
}

export function table(title, head, rows, wide = "") {
  return make("div", { class: `card scroll ${wide}`, tabindex: "0", role: "region", "aria-label": title }, make("table", {},
    make("caption", {}, title),
    ...(head.some((name) => name) ? [make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name))))] : []),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, make("th", { scope: "row" }, String(row[0])), ...row.slice(1).map((cell) => make("td", {}, String(cell))))))));
}
export function tile(name, value, note, level = null) {
  return make("div", { class: "tile", "data-level": level }, make("h3", {}, name), make("b", {}, value), make("small", {}, note));
}
export const level = (value, warn, bad) => (missing(value) ? null : value >= bad ? "bad" : value >= warn ? "warn" : "good");
