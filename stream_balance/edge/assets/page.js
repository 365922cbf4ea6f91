// The live page: listens to /events, draws everything anew. Text enters as text only: ids and names come from outside.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);
  let points = [], last = null, paused = false, ended = false;

  // -- making elements

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    return fill(element, attributes, children);
  }
  function draw(name, attributes = {}, ...children) {
    return fill(document.createElementNS(SVG, name), attributes, children);
  }
  function fill(element, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(key, value);
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  // -- words

  const missing = (value) => value === null || value === undefined;
  function number(value, digits = 3) {
    if (missing(value)) return "–";
    if (Number.isInteger(value) && digits === 3) return value.toLocaleString("en");
    return value.toFixed(digits);
  }
  const percent = (value, digits = 1) => (missing(value) ? "–" : `${(100 * value).toFixed(digits)} %`);
  const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  function span(seconds) {
    if (missing(seconds)) return "–";
    if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
    if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
    if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
    return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400).toLocaleString("en")} days`;
  }
  const ratio = (a, b) => (b ? a / b : null);

  // -- charts

  const W = 340, H = 130, LEFT = 44, RIGHT = 6, TOP = 8, BOTTOM = 18;

  /** Lines over time. series: [{name, key, show}]; options: {low, high, rule, marks}. Reads `points` when drawn. */
  class Chart {
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
      if (!points.length) return null;
      let best = 0;
      points.forEach((point, i) => { if (Math.abs(this.x(point.t) - x) < Math.abs(this.x(points[best].t) - x)) best = i; });
      return best;
    }
    key(event) {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
      if (!(event.key in steps) || !points.length) return;
      event.preventDefault();
      const from = this.at ?? points.length - 1;
      this.point(Math.max(0, Math.min(points.length - 1, from + steps[event.key])));
      byId("spoken").textContent = `${this.title}, ${this.reading(points[this.at])}`;
    }
    point(at) { this.at = at; this.update(); }
    reading(point) {
      const values = this.series.map((line) => `${line.name} ${this.show(point[line.key])}`);
      return `${clock(point.t)}: ${values.join(", ")}`;
    }
    x(t) {
      const first = points[0].t, width = Math.max(1e-9, points[points.length - 1].t - first);
      return LEFT + ((t - first) / width) * (W - LEFT - RIGHT);
    }
    update() {
      const values = points.flatMap((point) => this.series.map((line) => point[line.key])).filter((value) => !missing(value));
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
          draw("text", { x: LEFT - 4, y: y(value) + 4, "text-anchor": "end" }, this.show(value).replace(" %", "%")));
      }
      if (!missing(this.options.rule)) {
        this.svg.append(draw("line", { class: "cursor", x1: LEFT, x2: W - RIGHT, y1: y(this.options.rule), y2: y(this.options.rule) }));
      }
      for (const t of this.options.marks ? alarms() : []) {
        this.svg.append(draw("line", { class: "mark", x1: this.x(t), x2: this.x(t), y1: TOP, y2: H - BOTTOM }));
      }
      this.series.forEach((line, i) => {
        let path = "", pen = false;
        for (const point of points) {
          const value = point[line.key];
          if (missing(value)) { pen = false; continue; }
          path += `${pen ? "L" : "M"}${this.x(point.t).toFixed(1)} ${y(value).toFixed(1)}`;
          pen = true;
        }
        this.svg.append(draw("path", { class: `line c${i}`, d: path }));
      });
      const first = points[0], now = points[points.length - 1];
      this.svg.append(draw("text", { x: LEFT, y: H - 4 }, clock(first.t)), draw("text", { x: W - RIGHT, y: H - 4, "text-anchor": "end" }, clock(now.t)));
      const chosen = this.at === null ? null : points[Math.min(this.at, points.length - 1)];
      if (chosen) this.svg.append(draw("line", { class: "cursor", x1: this.x(chosen.t), x2: this.x(chosen.t), y1: TOP, y2: H - BOTTOM }));
      this.svg.setAttribute("aria-label",
        `${this.title}. Now ${this.series.map((line) => `${line.name} ${this.show(now[line.key])}`).join(", ")}; between ${this.show(low)} and ${this.show(high)} since ${clock(first.t)}.`);
      this.caption.replaceChildren(...(chosen ? [this.reading(chosen)] : this.series.map((line, i) => key(i, `${line.name} ${this.show(now[line.key])}`))));
    }
  }
  function key(index, text) {
    const sample = draw("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, draw("line", { class: `line c${index}`, x1: 0, x2: 26, y1: 5, y2: 5 }));
    return make("span", { class: "key" }, sample, text);
  }
  /** Moments at which an alarm counter had grown. */
  function alarms() {
    const found = [];
    for (let i = 1; i < points.length; i++) {
      for (const name of ["alarms_log_loss", "alarms_label_rate"]) {
        if ((points[i][name] ?? 0) > (points[i - 1][name] ?? 0)) { found.push(points[i].t); break; }
      }
    }
    return found;
  }

  /** Promised against seen: points on the diagonal are well calibrated. */
  function reliability(bins) {
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
  function bars(title, rows, note) {
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

  function table(title, head, rows, wide = "") {
    return make("div", { class: `card scroll ${wide}`, tabindex: "0", role: "region", "aria-label": title }, make("table", {},
      make("caption", {}, title),
      make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, make("th", { scope: "row" }, String(row[0])), ...row.slice(1).map((cell) => make("td", {}, String(cell))))))));
  }
  function tile(name, value, note, level = null) {
    return make("div", { class: "tile", "data-level": level }, make("h3", {}, name), make("b", {}, value), make("small", {}, note));
  }
  const level = (value, warn, bad) => (missing(value) ? null : value >= bad ? "bad" : value >= warn ? "warn" : "good");

  // -- the parts of the page

  const charts = [
    new Chart("ROC AUC", [{ name: "window", key: "auc" }], number, { rule: 0.5, marks: true }),
    new Chart("Average precision", [{ name: "ours", key: "ap" }, { name: "guessing", key: "real" }], (value) => number(value, 3), { low: 0, marks: true }),
    new Chart("Normalised entropy", [{ name: "window", key: "entropy" }], number, { rule: 1, marks: true }),
    new Chart("Calibration: promised over seen", [{ name: "window", key: "ratio" }], (value) => number(value, 2), { rule: 1, marks: true }),
  ];
  const shares = new Chart("Share of positives", [{ name: "real", key: "real" }, { name: "learned", key: "trained" }, { name: "aimed at", key: "target" }], (value) => percent(value, 1), { low: 0 });
  const tiers = new Chart("ROC AUC by tier", [{ name: "popular", key: "auc_head" }, { name: "rare", key: "auc_tail" }], number, { rule: 0.5 });
  const held = new Chart("Impressions waiting for a label", [{ name: "held", key: "held" }], (value) => number(value, value % 1 ? 0 : 3), { low: 0 });

  function drawTiles({ report, state, pulse }) {
    const window_ = report.metrics.window, rate = ratio(window_.positives, window_.rows);
    const lag = Object.values(state.lag_s ?? {}), lagS = lag.length ? Math.max(...lag) : null;
    const bad = Object.values(report.events.bad).reduce((sum, count) => sum + count, 0);
    const spent = state.telemetry?.score_seconds, count = spent ? spent.counts.reduce((sum, each) => sum + each, 0) : 0;
    const off = missing(window_.mean_probability_over_rate) ? null : Math.abs(Math.log(window_.mean_probability_over_rate));
    byId("tiles").replaceChildren(
      tile("ROC AUC", number(window_.roc_auc), `window, ${number(window_.positives)} positives`),
      tile("Over guessing", missing(window_.average_precision) || !rate ? "–" : `${(window_.average_precision / rate).toFixed(1)}×`, `precision; rate ${percent(rate)}`),
      tile("Calibration", number(window_.mean_probability_over_rate, 2), "promised over seen", window_.positives >= 100 ? level(off, Math.log(1.2), Math.log(1.4)) : null),
      tile("Labels", number(report.examples.matured), `${number(report.examples.positive)} with an outcome`),
      tile("Behind", lagS === null ? "–" : span(lagS), lagS === null ? "no topics here" : "oldest unread record", level(lagS, 10, 60)),
      tile("Time to score", count ? span(spent.sum / count) : "–", "mean of a search"),
      tile("Bad records", number(bad), Object.keys(report.events.bad).length ? "kept as dead letters" : "none", bad / Math.max(1, report.events.search) > 0.02 ? "warn" : null),
      tile("Loop", pulse.healthy ? "moving" : "stalled", `idle ${span(pulse.idle_s)}`, pulse.healthy ? "good" : "bad"));
  }

  function drawBalance({ report, state }) {
    const window_ = report.metrics.window, training = report.training, names = Object.keys(training.by_class);
    const learned = Object.values(training.by_class).reduce((sum, count) => sum + count, 0), rows = [];
    names.forEach((name, i) => {
      const real = window_.per_class ? ratio(window_.per_class[name]?.rows, window_.rows) : names.length === 2 ? ratio(i ? window_.positives : window_.rows - window_.positives, window_.rows) : null;
      rows.push([`${name}: real (window)`, real, 0], [`${name}: learned (since the start)`, ratio(training.by_class[name], learned), 1]);
    });
    const total = Object.values(training.samples).reduce((sum, count) => sum + count, 0);
    const cards = [
      shares.element,
      bars("Classes: real and learned", rows, `${number(training.per_impression, 2)} samples per impression`),
      bars("Samples by origin", Object.entries(training.samples).map(([name, count]) => [name, ratio(count, total), 2]), `${number(total)} samples learned`),
      reliability(state.reliability ?? []),
    ];
    const arms = Object.entries(report.arms ?? {});
    if (arms.length) cards.push(armTable(arms));
    if (report.gan) cards.push(table("GAN", ["", ""], Object.entries(report.gan).filter(([, value]) => typeof value !== "object" || value === null).map(([name, value]) => [name.replaceAll("_", " "), number(value)])));
    byId("balance").replaceChildren(...cards);
    shares.update();
  }
  function armTable(arms) {
    const none = arms.find(([name]) => name === "none")?.[1];
    return table("Arms", ["arm", "log-loss", "lift", "AUC", "AP"], arms.map(([name, arm]) => {
      const lift = none && !missing(none.log_loss) && !missing(arm.log_loss) ? percent(1 - arm.log_loss / none.log_loss) : "–";
      return [name, number(arm.log_loss, 4), lift, number(arm.roc_auc), number(arm.average_precision)];
    }));
  }

  function drawTiers({ report }) {
    const scopes = [["popular (head)", report.metrics.tiers.head], ["rare (tail)", report.metrics.tiers.tail], ["all, lifetime", report.metrics.lifetime], ["all, window", report.metrics.window], ["all, faded", report.metrics.faded]];
    const order = report.ranking, exposure = report.exposure;
    byId("tiers").replaceChildren(
      tiers.element,
      table("Figures by tier and scope", ["scope", "rows", "pos.", "AUC", "AP", "log-loss", "ECE", "G-mean"], scopes.map(([name, scope]) => [
        name, number(Math.round(scope.rows)), number(Math.round(scope.positives)), number(scope.roc_auc), number(scope.average_precision),
        number(scope.log_loss, 4), number(scope.ece, 4), number(scope.at_tuned?.gmean)]), "wide"),
      table("Order of the items", ["order", "MRR", "nDCG", "hits", "rare"], [
        ["ours", number(order.mrr), number(order.ndcg_at_k), number(order.hit_at_k), percent(exposure.tail_share, 0)],
        ["shown", number(order.logged.mrr), number(order.logged.ndcg_at_k), number(order.logged.hit_at_k), percent(exposure.logged_tail_share, 0)]]));
    tiers.update();
  }

  function drawStream({ report, state }) {
    const bad = Object.entries(report.events.bad), lag = Object.entries(state.lag ?? {});
    const cards = [
      held.element,
      table("Latest predictions", ["search", "items", "best item", "probability"], (state.latest ?? []).map((search) => [
        search.search_id, number(search.items), search.best[0]?.item_id ?? "–", percent(search.best[0]?.probability, 2)])),
      table("Health", ["", ""], [
        ["event time reached", missing(state.watermark_us) ? "–" : new Date(state.watermark_us / 1000).toISOString().replace("T", " ").slice(0, 19)],
        ["behind the clock", span(state.watermark_delay_s)],
        ["searches, purchases", `${number(report.events.search)}, ${number(report.events.purchase)}`],
        ["late, duplicate, orphan", `${number(report.examples.late)}, ${number(report.examples.duplicates)}, ${number(report.examples.orphans)}`],
        ["dropped", number(Object.values(report.examples.dropped).reduce((sum, count) => sum + count, 0))],
        ["memory of what is held", missing(state.held_bytes) ? "–" : `${(state.held_bytes / 1e6).toFixed(1)} MB`],
        ["broker", missing(state.broker_away) ? "–" : state.broker_away ? "away" : "there"]]),
      table("Bad records", ["reason", "records"], bad.length ? bad.map(([reason, count]) => [reason, number(count)]) : [["none", "0"]]),
      table("Drift alarms, latest first", ["watched", "at row", "event time"], report.drift.alarms.length
        ? report.drift.alarms.slice(-6).reverse().map((alarm) => [alarm.kind.replace("_", " "), number(alarm.position), new Date(alarm.ts_us / 1000).toISOString().slice(11, 19)])
        : [["none", "–", "–"]]),
    ];
    if (lag.length) cards.push(table("Unread records", ["partition", "records", "waiting"], lag.map(([name, records]) => [name, number(records), span(state.lag_s?.[name])])));
    byId("stream").replaceChildren(...cards);
    held.update();
  }

  // -- what comes in

  function drawAll() {
    if (!last || paused) return;
    // Redrawing must not take the focus away from who reads with the keyboard.
    const region = document.activeElement?.closest?.("[aria-label]"), label = region?.getAttribute("aria-label"), inChart = document.activeElement?.tagName === "svg";
    drawTiles(last); charts.forEach((chart) => chart.update()); drawBalance(last); drawTiers(last); drawStream(last);
    if (label && !inChart && !document.contains(region)) {
      [...document.querySelectorAll("[role=region]")].find((each) => each.getAttribute("aria-label") === label)?.focus({ preventScroll: true });
    } else if (inChart && document.activeElement !== region) region?.focus({ preventScroll: true });
    const { report, names } = last;
    byId("summary").textContent = `${names.model ?? ""}, ${names.strategy ?? ""}, seed ${report.seed}; ${number(report.events.search)} searches, ${number(report.examples.in)} impressions`;
  }
  function show(state, words, notice = "") {
    const pill = byId("state");
    if (pill.textContent !== words) pill.textContent = words;
    pill.dataset.state = state;
    byId("notice").textContent = notice;
    byId("notice").hidden = !notice;
  }
  function showPulse(pulse) {
    if (!pulse.healthy) show("stalled", "stalled", "The learning loop does not turn. See the runbook: loop stalled.");
    else if (pulse.trouble) show("trouble", "trouble", String(pulse.trouble));
    else show(pulse.ready ? "ok" : "waiting", pulse.ended ? "ended" : pulse.ready ? "running" : "starting");
  }
  function listen() {
    const source = new EventSource("events");
    source.addEventListener("history", (event) => { points = JSON.parse(event.data); ended = false; });
    source.addEventListener("report", (event) => {
      last = JSON.parse(event.data);
      if (last.point && (!points.length || last.point.t > points[points.length - 1].t)) points.push(last.point);
      if (points.length > 800) points = points.filter((_, i) => i % 2 === 0);
      showPulse(last.pulse);
      drawAll();
    });
    source.addEventListener("pulse", (event) => showPulse(JSON.parse(event.data)));
    source.addEventListener("ended", () => { ended = true; show("ok", "ended"); });
    source.addEventListener("error", () => {
      show(ended ? "ok" : "lost", ended ? "ended" : "no answer", ended ? "" : "The service does not answer; trying again. What you see is from before.");
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
    });
  }
  byId("pause").addEventListener("click", (event) => {
    paused = !paused;
    event.currentTarget.setAttribute("aria-pressed", String(paused));
    event.currentTarget.textContent = paused ? "Go on" : "Pause";
    drawAll();
  });
  byId("charts").append(...charts.map((chart) => chart.element));
  charts.forEach((chart) => chart.update());
  listen();
})();
