// The live page: listens to /events, draws everything anew.
import { Chart, bars, byId, level, make, missing, number, percent, ratio, reliability, seen, span, table, tile } from "./charts.js";

let last = null, paused = false, ended = false, heldBack = 0;

// -- the parts of the page

const charts = [
  new Chart("ROC AUC", [{ name: "window", key: "auc" }], number, { rule: 0.5, marks: true }),
  new Chart("Average precision", [{ name: "ours", key: "ap" }, { name: "guessing", key: "real" }], (value) => number(value, 3), { low: 0, marks: true }),
  new Chart("Normalised entropy", [{ name: "window", key: "entropy" }], number, { rule: 1, marks: true }),
  new Chart("Calibration: promised over seen", [{ name: "window", key: "ratio" }], (value) => number(value, 2), { rule: 1, marks: true }),
];
const shares = new Chart("Share of positives", [{ name: "real", key: "real" }, { name: "learned", key: "trained" }, { name: "aimed at", key: "target" }], (value) => percent(value, 1), { low: 0 });
const tiers = new Chart("ROC AUC by tier", [{ name: "popular", key: "auc_head" }, { name: "rare", key: "auc_tail" }], number, { rule: 0.5 });
function signed(value, digits = 3) {
  if (missing(value)) return "–";
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value > 0 ? "+" : "-"}${text}`;
}
const lift = new Chart("Lift: average precision above the references", [
  { name: "over none", key: "lift_none", error: "lift_none_error" }, { name: "over River's logistic", key: "lift_river", error: "lift_river_error" },
], (value) => signed(value), { rule: 0, marks: true });
const held = new Chart("Impressions waiting for a label", [{ name: "held", key: "held" }], (value) => number(value, value % 1 ? 0 : 3), { low: 0 });

function drawTiles({ report, state, pulse }) {
  const window_ = report.metrics.window, rate = ratio(window_.positives, window_.rows);
  const lag = Object.values(state.lag_s ?? {}), lagS = lag.length ? Math.max(...lag) : null;
  const bad = Object.values(report.events.bad).reduce((sum, count) => sum + count, 0);
  const spent = state.telemetry?.score_seconds, count = spent ? spent.counts.reduce((sum, each) => sum + each, 0) : 0;
  const early = window_.positives < 100;  // then the error of the AUC is .03 and more
  const off = missing(window_.mean_probability_over_rate) ? null : Math.abs(Math.log(window_.mean_probability_over_rate));
  byId("tiles").replaceChildren(
    tile("ROC AUC", number(window_.roc_auc), early ? `${number(window_.positives)} positives: too early to judge` : `window; ${missing(report.oracle?.roc_auc) ? `${number(window_.positives)} positives` : `the truth has ${number(report.oracle.roc_auc)}`}`),
    tile("Over guessing", missing(window_.average_precision) || !rate ? "–" : `${(window_.average_precision / rate).toFixed(1)}×`, `precision; rate ${percent(rate)}`),
    tile("Calibration", number(window_.mean_probability_over_rate, 2), "promised over seen", !early ? level(off, Math.log(1.2), Math.log(1.4)) : null),
    tile("Labels", number(report.examples.matured), `${number(report.examples.positive)} with an outcome`),
    tile("Behind", lagS === null ? "–" : span(lagS), lagS === null ? "no topics here" : "oldest unread record", level(lagS, 10, 60)),
    tile("Time to score", count ? span(spent.sum / count) : "–", "mean of a search, learning included"),
    tile("Bad records", number(bad), !bad ? "none" : missing(state.dead_letters) ? "by reason below" : "kept as dead letters", bad / Math.max(1, report.events.search) > 0.02 ? "warn" : null),
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
    bars("Classes: real and learned", rows, `${number(training.per_impression, 2)} samples per impression, all arms. What an arm weighs or draws by itself counts in the share of positives only`),
    bars("Samples by origin", Object.entries(training.samples).map(([name, count]) => [name, ratio(count, total), 2]), `${number(total)} samples learned`),
    reliability(state.reliability ?? []),
  ];
  byId("balance").replaceChildren(...cards, ...(report.gan ? ganCards(report.gan) : []));
  shares.update();
}
function ganCards(gan) {
  const refusals = Object.entries(gan.refusals), refused = refusals.reduce((sum, [, count]) => sum + count, 0);
  const outcome = (one) => `${one.outcome === "release" ? "release" : `refused: ${one.reason}`}`.replaceAll("_", " ");
  return [
    table("Generated rows (GAN)", ["", ""], [
      ["trainings asked for", number(gan.requests)], ["under way", gan.open ? gan.open.label : "none"],
      ["releases, refusals, expired", `${number(gan.releases)}, ${number(refused)}, ${number(gan.expired)}`],
      ...Object.entries(gan.pool).map(([name, pool]) => [`in use for ${name}`, `${pool.maker}, ${number(pool.rows)} rows, ${span(pool.age_s)} old`]),
      ...Object.entries(gan.pool).map(([name, pool]) => [`learned for ${name}`, `${number(pool.drawn)}, at most ${percent(pool.share, 0)}`])], "wide"),
    table("Trainings, latest first", ["at event", "class", "why", "outcome"], gan.history.length
      ? gan.history.slice(-6).reverse().map((one) => [number(one.position), one.label, one.asked_for, outcome(one)])
      : [["none", "–", "–", "–"]]),
  ];
}

function drawArms({ report }) {
  const arms = report.arms ?? [], served = arms.filter((arm) => arm.role === "arm");
  const { serve, champion, switches } = report.mixture ?? {};
  byId("arms").replaceChildren(
    lift.element,
    table(served.length > 1 && serve === "champion" ? `Arms; served: ${champion ?? "none yet"}, ${number(switches)} switches` : "Arms and references", ["arm", "weight head", "tail", "log-loss", "AUC", "AP"], arms.length
      ? arms.map((arm) => [
        `${arm.name}${arm.role === "reference" ? " (reference)" : arm.running ? "" : " (paused)"}`, percent(arm.weight?.head, 0), percent(arm.weight?.tail, 0),
        number(arm.window.log_loss, 4), number(arm.window.roc_auc), number(arm.window.average_precision)])
      : [["none", "–", "–", "–", "–", "–"]], "wide"),
    ...(served.length > 1 ? [bars("Weight of each arm", served.flatMap((arm) => [[`${arm.name}: popular items`, arm.weight?.head, 0], [`${arm.name}: rare items`, arm.weight?.tail, 1]]), "Share in what is served")] : []),
    ...(served.length > 1 ? [table("Decisions on arms, latest first", ["arm", "what", "why", "at row"], (report.mixture?.decisions ?? []).length
      ? report.mixture.decisions.slice(-6).reverse().map((one) => [one.arm, one.action === "champion" ? "new champion" : one.action, one.reason, number(one.position)])
      : [["none", "–", "–", "–"]], "wide")] : []),
    table("Lift over the references", ["reference", "rows", "precision ± 2 errors", "log-loss saved"], Object.entries(report.lift ?? {}).map(([name, one]) => [
      name.replaceAll("_", " "), number(one.rows), plusMinus(one.average_precision, 3), plusMinus(one.log_loss, 4)]), "wide"));
  lift.update();
}
const plusMinus = ({ value, error }, digits) => (missing(value) ? "–" : `${signed(value, digits)}${missing(error) ? "" : ` ± ${(2 * error).toFixed(digits)}`}`);

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
  if (report.metrics.window.per_class) byId("tiers").append(table("Figures by class (window)", ["class", "rows", "recall", "precision", "AUC", "AP"],
    Object.entries(report.metrics.window.per_class).map(([name, one]) => [
      name, number(one.rows), number(one.recall), number(one.precision), number(one.roc_auc), number(one.average_precision)]), "wide"));
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
  heldBack = 0;
  // Redrawing must not take the focus away from who reads with the keyboard.
  const region = document.activeElement?.closest?.("[aria-label]"), label = region?.getAttribute("aria-label"), inChart = document.activeElement?.tagName === "svg";
  drawTiles(last); charts.forEach((chart) => chart.update()); drawBalance(last); drawArms(last); drawTiers(last); drawStream(last);
  if (label && !inChart && !document.contains(region)) {
    [...document.querySelectorAll("[role=region]")].find((each) => each.getAttribute("aria-label") === label)?.focus({ preventScroll: true });
  } else if (inChart && document.activeElement !== region) region?.focus({ preventScroll: true });
  const { report, names } = last;
  const served = (report.arms ?? []).filter((arm) => arm.role === "arm").map((arm) => arm.name);
  const model = served.length > 1 ? `${served.length} arms` : (served[0] ?? `${names.model ?? ""}:${names.strategy ?? ""}`);
  byId("summary").textContent = `${model}, seed ${report.seed}; ${number(report.events.search)} searches, ${number(report.examples.in)} impressions`;
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
  source.addEventListener("history", (event) => { seen.points = JSON.parse(event.data); ended = false; });
  source.addEventListener("report", (event) => {
    last = JSON.parse(event.data);
    if (last.point && (!seen.points.length || last.point.t > seen.points[seen.points.length - 1].t)) seen.points.push(last.point);
    if (seen.points.length > 800) seen.points = seen.points.filter((_, i) => i % 2 === 0);
    showPulse(last.pulse);
    if (paused) heldBack += 1;
    drawAll();
    showPause();
  });
  source.addEventListener("pulse", (event) => showPulse(JSON.parse(event.data)));
  source.addEventListener("ended", () => { ended = true; show("ok", "ended"); });
  source.addEventListener("error", () => {
    show(ended ? "ok" : "lost", ended ? "ended" : "no answer", ended ? "" : "The service does not answer; trying again. What you see is from before.");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
}
function showPause() {
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? `Go on${heldBack ? ` (${number(heldBack)} newer)` : ""}` : "Pause";
}
byId("pause").addEventListener("click", () => {
  paused = !paused;
  drawAll();
  showPause();
});
byId("charts").append(...charts.map((chart) => chart.element));
charts.forEach((chart) => chart.update());
listen();
