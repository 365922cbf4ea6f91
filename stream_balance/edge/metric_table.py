"""Metric table: every metric of the service as data: name, kind, help, labels, and where its figures stand.

In: a view of the report and the state. Out: values by labels. The exporter renders it, and `docs/metrics.md` is written
from it, so a new figure is one line here. Labels are bounded: scopes, tiers, origins, kinds and reasons come from
closed lists, classes and arms from the settings, partitions from the topics.
"""

from __future__ import annotations

from collections.abc import Iterator

from stream_balance.edge.metric_read import (
    Metric,
    at,
    by_arm,
    by_arm_and_scope,
    by_arm_within,
    by_class,
    class_rows,
    class_shares,
    counter,
    decided,
    each,
    each_field,
    each_of,
    each_within,
    gauge,
    histogram,
    lifts,
    macro,
    micro,
    partitions,
    picked,
    scoped,
    vetted,
)
from stream_balance.edge.wire import REASONS

_SCOPED = {
    "rows": "Impressions measured (faded: a sum of weights).",
    "positives": "Measured impressions with an outcome.",
    "roc_auc": "Area under the ROC curve.",
    "average_precision": "Average precision.",
    "log_loss": "Mean natural log-loss.",
    "brier": "Mean squared difference of probability and label.",
    "normalised_entropy": "Log-loss over the entropy of the scope's label rate; below 1 beats the base rate.",
    "ece": "Expected calibration error, 15 bins of equal mass.",
    "mean_probability_over_rate": "Mean probability over label rate; 1 is right on average.",
}
_DECIDED = (
    "accuracy", "majority_accuracy", "recall", "specificity", "precision", "f1", "gmean", "balanced_accuracy", "mcc",
    "kappa",
)  # fmt: skip
_CLASSED = ("recall", "precision", "roc_auc", "average_precision")
VETTED = (
    "harm", "inconclusive", "c2st", "coverage", "marginals", "pairs", "exact_copies", "near_copies", "not_finite",
    "too_few_rows", "constant", "privacy_budget", "no_opacus",
)  # fmt: skip
CHILDS = ("timeout", "garbage", "memory", "error", "killed", "crash", "closed", "no_trainer")

SERVICE: tuple[Metric, ...] = (
    Metric("build", "info", "Versions of the service and its libraries, as labels.", (), at("pulse:versions")),
    gauge("ready", "1 once the service takes events.", at("pulse:ready")),
    gauge("loop_idle_seconds", "Time since the learning loop last turned; /health fails at http.stall_s.",
          at("pulse:idle_s")),
    gauge("report_age_seconds", "Age of the report that these figures come from.", at("pulse:report_age_s")),
    counter("loop_seconds", "Wall time of the learning loop by what it did: poll (ask, wait for and decode records), "
            "work (score and learn), flush (wait for the outputs), "
            "checkpoint (begin to save, journal the merge), wait (a pace held it back).",
            each("state:telemetry.loop_seconds"), "activity"),
    counter("loop_cpu_seconds", "CPU time of the learning loop's thread; its rate is the loop's utilisation.",
            at("state:telemetry.loop_cpu_seconds")),
    gauge("consumer_lag_records", "Records of the partition not yet processed.", partitions("state:lag"),
          "topic", "partition"),
    gauge("consumer_lag_seconds", "How long the oldest record not yet processed has been known to wait.",
          partitions("state:lag_s"), "topic", "partition"),
    gauge("watermark_timestamp_seconds", "Event time that has been reached, seconds since 1970.",
          micro("state:watermark_us")),
    gauge("watermark_delay_seconds", "Wall clock minus event time reached; large while an old log is replayed.",
          at("state:watermark_delay_s")),
    histogram("score_seconds", "Time to take a search: labels that fell due learned, featurized, scored, held."),
    histogram("event_to_score_seconds", "From a search's Kafka timestamp to its prediction handed to the producer; "
              "the age of the log while an old one is replayed."),
    histogram("label_to_learn_seconds", "From the moment an impression's label was due to when it was learned, by the "
              "wall clock; the age of the log while an old one is replayed."),
    counter("score_requests", "Answers to POST /score: scored, refused (the request was wrong), busy (no turn within "
            "http.score_wait_s).", each("pulse:score_requests"), "answer"),
    histogram("score_request_seconds", "From the first byte of a POST /score to the last of its answer.", "pulse:"),
    gauge("live_pages", "Live pages that are open.", at("pulse:live_pages")),
    counter("predictions_published", "Searches whose predictions were handed to the producer.",
            at("state:predictions_published")),
    counter("dead_letters", "Records sent to a dead-letter topic.", at("state:dead_letters")),
    gauge("broker_away", "1 while the broker does not answer.", at("state:broker_away")),
    counter("broker_outages", "Outages of the broker that ended.", at("state:broker_outages")),
    counter("broker_outage_seconds", "Seconds without broker, a present outage included.", at("state:broker_outage_s")),
    counter("client_polls", "Times the Kafka client was asked for records.", at("state:client_polls")),
    counter("clients_renewed", "New Kafka clients, because the old one had lost a partition or only failed.",
            at("state:clients_renewed")),
    counter("partitions_parked", "Partitions not fetched for a while, because their buffer was full.",
            at("state:partitions_parked")),
    gauge("partitions_unread", "Partitions added since the start; a restart reads them.",
          at("state:partitions_unread")),
    gauge("outputs_unacknowledged", "Predictions and dead letters on their way.", at("state:outputs_unacknowledged")),
    counter("output_waits", "Outputs that had to wait for room among those on their way.", at("state:output_waits")),
    counter("dead_letters_cut", "Dead letters too large to be sent whole.", at("state:dead_letters_cut")),
    counter("records_lost", "Records that retention had deleted before they were read.", at("state:records_lost")),
    counter("merge_unforced", "Merge decisions that times did not force: a partition that was caught up was passed "
            "over.", at("state:merge_unforced")),
    counter("checkpoints", "Checkpoints put into place.", at("state:checkpoint.made")),
    counter("checkpoint_failures", "Checkpoints that could not be written; the last good one stays.",
            at("state:checkpoint.failures")),
    gauge("checkpoint_age_seconds", "How long something has been done that no checkpoint holds.",
          at("state:checkpoint.age_s")),
    gauge("checkpoint_write_seconds", "How long the last one took to write, beside the loop.",
          at("state:checkpoint.write_s")),
    gauge("checkpoint_stop_seconds", "The longest time that beginning one has held up the loop.",
          at("state:checkpoint.loop_stop_s")),
    gauge("checkpoint_bytes", "Size of the last one.", at("state:checkpoint.bytes")),
    counter("journal_entries", "Merge decisions journaled.", at("state:checkpoint.journal_entries")),
    gauge("journal_bytes", "Size of the merge journal after the last checkpoint.",
          at("state:checkpoint.journal_bytes")),
    counter("merge_runs_cut", "Runs of equal times too long to be put into order as one.", at("state:runs_cut")),
)  # fmt: skip

STREAM: tuple[Metric, ...] = (
    counter("events", "Events taken, by type.", each("events", "search", "purchase"), "type"),
    counter("bad_records", "Records that could not be read, by reason.", each_of("events.bad", REASONS), "reason"),
    gauge("held_impressions", "Impressions that wait for a label.", at("examples.held")),
    gauge("held_bytes", "Estimate of their memory, without shared strings.", at("state:held_bytes")),
    gauge("reorder_held_events", "Events held back to mend the log's disorder.", at("state:reorder_held")),
    counter("examples_in", "Impressions scored and held.", at("examples.in")),
    counter("examples_matured", "Impressions whose label became due.", at("examples.matured")),
    counter("examples_positive", "Matured impressions with an outcome.", at("examples.positive")),
    counter("examples_label_known", "Impressions of searches that came late, whose label could have been known when "
            "they were scored; kept out of the metrics.", at("examples.label_known")),
    counter("examples_orphans", "Purchases without a search.", at("examples.orphans")),
    counter("examples_late", "Events behind the watermark.", at("examples.late")),
    counter("examples_duplicates", "Events whose id had been seen.", at("examples.duplicates")),
    counter("examples_dropped", "Impressions given up before their label was due, by reason.",
            each("examples.dropped"), "reason"),
    counter("beyond_bounds", "What went beyond a bound of memory, by which: hashed, folded, forgotten or forced.",
            each("state:beyond_bounds"), "bound"),
    gauge("feature_columns", "Columns of the feature table.", at("state:feature_columns")),
    counter("features_withheld", "Searches whose purchase columns were left out, lest they give a label away.",
            at("state:features_withheld")),
)  # fmt: skip

LEARNING: tuple[Metric, ...] = (
    *(gauge(f"metric_{field}", text, scoped(field), "scope") for field, text in _SCOPED.items()),
    *(gauge(f"decision_{field}", f"{field.replace('_', ' ').capitalize()} of the decisions at .5 and at the tuned "
            "threshold.", decided(field), "scope", "at") for field in _DECIDED),
    *(gauge(f"class_{field}", f"{field.replace('_', ' ').capitalize()} of a class against the rest (three or more "
            "classes).", by_class(field), "scope", "class") for field in _CLASSED),
    *(gauge(f"macro_{field}", f"{field.replace('_', ' ').capitalize()}, mean over the classes (three or more).",
           macro(field), "scope") for field in (*_CLASSED, "gmean", "log_loss")),
    gauge("raw_rows", "Measured impressions for which the learner had an answer.", at("metrics.raw.rows")),
    gauge("raw_roc_auc", "Area under the ROC curve of the learner's own output.", at("metrics.raw.roc_auc")),
    gauge("raw_average_precision", "Average precision of the learner's own output.",
          at("metrics.raw.average_precision")),
    counter("raw_abstentions", "Measured impressions for which the learner had no answer.",
            at("metrics.raw.abstentions")),
    gauge("threshold", "Decision threshold in force, by tier.", each("threshold"), "tier"),
    gauge("model_learned_timestamp_seconds", "When the model last learned something, seconds since 1970.",
          at("state:telemetry.learned_at_s")),
    gauge("model_version", "Version of the model in force; grows with every sample learned.",
          at("state:model_version")),
    *(gauge(f"ranking_{field}", text, picked(ours=f"ranking.{field}", logged=f"ranking.logged.{field}",
            ours_window=f"ranking.window.{field}", logged_window=f"ranking.window.logged.{field}"), "order")
      for field, text in (
          ("mrr", "Mean reciprocal rank of the first bought item, by order of the items."),
          ("ndcg_at_k", "nDCG of the first k items, by order of the items."),
          ("hit_at_k", "Share of searches with a bought item among the first k, by order of the items."))),
    gauge("ranking_searches", "Searches ranked, since the start and in the window.",
         picked(lifetime="ranking.searches", window="ranking.window.searches"), "scope"),
    gauge("exposure_searches", "Searches in the exposure window.", at("exposure.searches")),
    gauge("exposure_slots", "Their top slots.", at("exposure.slots")),
    gauge("exposure_purchases", "Impressions with an outcome in the exposure window, by tier.",
         each("exposure.purchases"), "tier"),
    gauge("exposure_revenue", "Price times quantity of their purchases, by tier.", each("exposure.revenue"), "tier"),
    gauge("exposure_tail_share", "Share of top slots that our order gives to tail items.", at("exposure.tail_share")),
    gauge("exposure_logged_tail_share", "The same for the order shown.", at("exposure.logged_tail_share")),
    gauge("exposure_coverage", "Tail items in a top k over tail items shown.", at("exposure.coverage")),
    gauge("exposure_gini", "Gini coefficient of top slots per item shown.", at("exposure.gini")),
    counter("drift_alarms", "Changes that a detector reported, by what it watches.", each("drift.counts"), "watched"),
    gauge("drift_mean", "Mean that a detector holds for current, by what it watches.",
          picked(log_loss="drift.log_loss_mean", label_rate="drift.label_rate_mean"), "watched"),
    *(gauge(f"oracle_{field}", text, at(f"oracle.{field}")) for field, text in (
        ("rows", "Measured impressions whose true probability a simulated log carries."),
        ("roc_auc", "Area under the ROC curve of a simulated log's true probabilities."),
        ("average_precision", "Average precision of a simulated log's true probabilities."),
        ("log_loss", "Log-loss of a simulated log's true probabilities."),
        ("absolute_error", "Mean absolute difference of ours to a simulated log's true probabilities."),
        ("logit_error", "Mean absolute difference of ours to them, in log odds."))),
)  # fmt: skip

BALANCING: tuple[Metric, ...] = (
    gauge("class_rows", "Measured impressions of a class, by scope.", class_rows, "class", "scope"),
    gauge("class_share", "Share of a class among measured impressions, by scope.", class_shares, "class", "scope"),
    counter("samples", "Samples learned, by origin.", each("training.samples"), "origin"),
    counter("samples_by_class", "Samples learned, by class.", each("training.by_class"), "class"),
    gauge("samples_per_impression", "Samples learned per matured impression.", at("training.per_impression")),
    gauge("training_positive_share", "Share of outcomes among the samples learned lately.",
          at("training.positive_share")),
    gauge("training_target_share", "Share of outcomes aimed at, after clamps.", at("training.target_share")),
    counter("abstentions", "Impressions for which the learner had no answer.", at("training.abstentions")),
)  # fmt: skip

ARMS: tuple[Metric, ...] = (
    gauge("arm_weight", "Share of an arm in the mean of all, by tier.", by_arm_within("weight"), "arm", "tier"),
    gauge("arm_coefficient", "Multiplies how far an arm is from that mean, by tier, and is added to it.",
          by_arm_within("coefficient"), "arm", "tier"),
    gauge("arm_running", "0 while an arm is paused because it weighs and adds next to nothing.", by_arm("running"),
          "arm"),
    counter("arm_samples", "Samples that an arm or reference has learned.", by_arm("samples"), "arm"),
    *(gauge(f"arm_{field}", f"{text} of the calibrated answers of an arm or reference, over the window of the "
            "comparison and in each tier.", by_arm_and_scope(field), "arm", "scope")
      for field, text in (("rows", "Rows"), ("log_loss", "Log-loss"), ("average_precision", "Average precision"),
                          ("roc_auc", "Area under the ROC curve"))),
    counter("champion_switches", "Times another arm became champion.", at("mixture.switches")),
    gauge("lift", "What was served against a reference on the same rows: average precision gained, log-loss saved.",
          lifts("value"), "reference", "figure"),
    gauge("target_share", "Share of outcomes that an objective has set as the target; absent where it is fixed.",
          at("target.share")),
    counter("target_steps", "Steps of that target.", at("target.steps")),
    gauge("lift_error", "Standard error of the lift.", lifts("error"), "reference", "figure"),
)  # fmt: skip

CHILDREN: tuple[Metric, ...] = (
    counter("worker_requests", "Fits asked of a child process, by kind of work.",
            each_field("state:workers", "requests"), "kind"),
    counter("worker_results", "Fits that a child process has brought, by kind.",
            each_field("state:workers", "trained"), "kind"),
    counter("worker_retries", "Attempts after one that failed, by kind.",
            each_field("state:workers", "retries"), "kind"),
    counter("worker_refusals", "Fits given up after the last attempt, by kind and reason.",
            each_within("state:workers", "refused"), "kind", "reason"),
    counter("worker_cpu_seconds", "CPU time of child processes for their results, by kind.",
            each_field("state:workers", "cpu_s"), "kind"),
    counter("worker_stall_seconds", "Time that the loop stood still for a result that was late, by kind.",
            each_field("state:workers", "stall_s"), "kind"),
    counter("gan_requests", "Trainings of the GAN asked for.", at("gan.requests")),
    counter("gan_releases", "Releases of generated rows adopted.", at("gan.releases")),
    counter("gan_refusals", f"Trainings that gave no release, by reason: the vetting's ({', '.join(VETTED)}) or the "
            f"child's ({', '.join(CHILDS)}).",
            each_of("gan.refusals", (*VETTED, *CHILDS)), "reason"),
    counter("gan_releases_expired", "Releases that left the pool because of their age.", at("gan.expired")),
    gauge("gan_release_age_seconds", "Age of the release in use, in event time, by class.",
          each_field("gan.pool", "age_s"), "class"),
    gauge("gan_release_share", "Share of all samples that the release's rows may have, by class.",
          each_field("gan.pool", "share"), "class"),
    gauge("gan_release_rows_drawn", "Rows learned of the release in use, by class.",
            each_field("gan.pool", "drawn"), "class"),
    gauge("gan_c2st", "AUC of a forest between made and real rows, at the last vetting; .5 = it cannot tell.",
          vetted("c2st"), "maker"),
    gauge("gan_coverage", "Share of real rows with a made one near, at the last vetting.", vetted("coverage"),
          "maker"),
    gauge("gan_dcr_share", "Share of made rows nearer to a row learned than to one held out, at the last vetting; "
          ".5 = no copies.", vetted("dcr_share"), "maker"),
    gauge("gan_epsilon", "Spent by the private trainings of a class together (gan.privacy), for their steps alone.",
          each("gan.epsilon"), "class"),
)  # fmt: skip

SECTIONS: dict[str, tuple[Metric, ...]] = {
    "Service": SERVICE, "Stream": STREAM, "Learning": LEARNING, "Balancing": BALANCING,
    "Arms and references": ARMS,
    "Child processes and generated rows": CHILDREN,
}  # fmt: skip


def metrics() -> Iterator[Metric]:
    """Every metric, in the order of the documentation."""
    for section in SECTIONS.values():
        yield from section


def document() -> str:
    """`docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "Written from `stream_balance/edge/metric_table.py` by `python -m stream_balance.edge.metric_table > "
        "docs/metrics.md`; a test compares the two.",
        "",
        "A scrape of `/metrics` shows the last pinned report (at most `http.refresh_s` old while the loop turns). A "
        "figure that is undefined is left out, never 0. What each figure means is told at length in "
        "[report.md](report.md).",
        "Beside these there are the standard `process_*`, `python_info` and `python_gc_*` metrics of the Prometheus "
        "client. Counters begin at 0 with each start of the process, also where it goes on from a checkpoint: what the "
        "state has counted in all its lives is in `/report.json`.",
    ]
    for title, section in SECTIONS.items():
        lines += ["", f"## {title}", "", "| metric | kind | labels | is |", "|---|---|---|---|"]
        for metric in section:
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            lines.append(f"| `{metric.shown_name}` | {metric.kind} | {labels} | {metric.text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
