"""Every bound of docs/bounds.md is reached on purpose by a test, named here."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PIPELINE = "contract/test_bounds.py::test_every_buffer_is_filled_stays_within_its_bound_and_counts_what_it_let_go"
ROOMS = "contract/test_room_bounds.py::test_"
CODEC = "edge/test_codec.py::test_a_bad_record_says_where_what_was_found_and_what_was_expected"
KAFKA = "integration/test_kafka_edge.py::test_"
DIED = "test_gan_service.py::test_a_child_that_always_dies_is_a_refusal_that_a_later_run_follows"

REACHED_BY = {
    **dict.fromkeys(
        (
            "order.reorder_max", "join.held_max", "join.purchases_max", "join.shared_max", "features.columns_max",
            "features.levels_max", "features.items_max", "features.users_max", "features.categories_max",
            "features.plans_max", "tiers.items_max", "window.size_max", "metrics.exposure_searches", "drift.alarms_max",
        ),
        PIPELINE,
    ),
    "comparison.blocks_max": ROOMS + "a_comparison_rests_on_its_latest_blocks",
    "comparison.block_rows": ROOMS + "a_comparison_rests_on_its_latest_blocks",
    "target.blocks_max": ROOMS + "a_target_rests_on_its_latest_blocks_and_keeps_its_latest_decisions",
    "target.block_rows": ROOMS + "a_target_rests_on_its_latest_blocks_and_keeps_its_latest_decisions",
    "target.decisions_max": ROOMS + "a_target_rests_on_its_latest_blocks_and_keeps_its_latest_decisions",
    "mixture.decisions_max": ROOMS + "the_latest_decisions_on_arms_are_kept",
    "threshold.window_rows": ROOMS + "a_threshold_looks_at_its_latest_rows",
    "rates.blocks_max": ROOMS + "rates_rest_on_their_latest_blocks",
    "metrics.window_rows": "core/test_scorecard.py::test_a_window_without_enough_positives_is_bounded_by_its_rows",
    "metrics.ranking_searches": "core/test_ranking.py::test_the_ranking_window_forgets",
    "balance.copies_max": "core/test_balance.py::test_multipliers",
    "balance.neighbour_rows_max": ROOMS + "neighbours_are_sought_among_the_newest_rows_of_the_class",
    "balance.mixed_rows_max": ROOMS + "neighbours_of_any_class_are_sought_among_the_newest_rows",
    "gan.passes_max": "gan/test_train.py::test_few_rows_have_fewer_steps_cold_and_warm_alike",
    "gan.levels_max": "gan/test_gan_table.py::test_levels_that_are_new_share_the_slot_of_the_rare",
    "gan.release_rows": "gan/test_worker.py::test_the_answer_depends_on_the_request_alone_also_in_a_child_process",
    "gan.rows_max": ROOMS + "a_request_holds_the_newest_rows_of_the_class",
    "gan.others_max": "core/test_retrain.py::test_a_request_holds_others_in_their_shares_and_all_of_one_width",
    "gan.privacy.epsilon_max": "gan/test_private.py::test_the_budget_adds_up_over_trainings_and_ends_them",
    "gan.backoff_max": "core/test_retrain.py::test_after_refusals_the_wait_grows_up_to_its_bound",
    "gan.history_max": ROOMS + "the_latest_outcomes_of_trainings_are_kept",
    "workers.gan.retries_max": DIED,
    "workers.booster.retries_max": "edge/test_fits.py::test_a_child_that_fails_is_a_refusal_and_the_arm_goes_on",
    **{f"wire.{name}": CODEC for name in (
        "record_bytes_max", "items_max", "features_max", "list_max", "string_max", "number_max",
    )},
    "wire.interned_max": "edge/test_codec.py::test_equal_ids_share_one_string_and_their_number_is_bounded",
    "bad.window_records":
        "edge/test_bad_share.py::test_it_ends_at_the_first_record_with_too_many_bad_ones_among_the_latest",
    "http.connections_max": "edge/test_api.py::test_pages_and_connections_beyond_their_bounds_are_turned_away",
    "http.streams_max": "edge/test_api.py::test_pages_and_connections_beyond_their_bounds_are_turned_away",
    "kafka.buffer_records_max": KAFKA + "a_partition_far_ahead_neither_fills_memory_nor_stops_the_merge",
    "kafka.buffer_bytes_max": KAFKA + "what_is_fetched_and_not_taken_is_bounded_in_bytes_too",
    "kafka.fetch_bytes_max": KAFKA + "records_larger_than_a_fetch_come_through_in_every_partition",
    "kafka.poll_records_max": KAFKA + "a_turn_takes_so_many_records_and_the_rest_comes_with_the_next_ones",
    "kafka.unacknowledged_max":
        "integration/test_outage.py::test_with_its_outputs_stuck_the_loop_waits_and_goes_on_turning",
    "kafka.unacknowledged_bytes_max": KAFKA + "outputs_on_their_way_are_bounded_in_bytes",
    "kafka.request_bytes_max": KAFKA + "a_prediction_too_large_to_send_is_an_error_that_names_the_limit",
    "checkpoint.journal_bytes_max":
        "edge/test_keeper.py::test_a_journal_makes_a_checkpoint_early_and_ends_the_service_at_its_bound",
    "checkpoint.fits_max":
        "edge/test_fit_journal.py::test_refusals_are_kept_up_to_a_bound_and_a_torn_line_is_none",
    "record.segment_bytes_max": "edge/test_recording.py::test_a_segment_is_full_by_size_or_age",
    "record.segments_max": "edge/test_recording.py::test_only_the_latest_segments_are_kept",
    "(the dead-letter file)": "edge/test_deadletter_file.py::test_beyond_its_bound_it_counts_instead",
    "(runs of equal times)": "edge/test_merge.py::test_an_endless_run_is_cut_at_its_bound",
}  # fmt: skip


def test_every_documented_bound_has_a_test_that_reaches_it() -> None:
    document = (TESTS.parent / "docs" / "bounds.md").read_text()
    listed = set(re.findall(r"^\| `([a-z_.]+)` \|", document, flags=re.MULTILINE))
    assert listed == {name for name in REACHED_BY if not name.startswith("(")}
    for name, reference in REACHED_BY.items():
        path, _, function = reference.partition("::")
        assert f"\ndef {function}(" in (TESTS / path).read_text(), f"{name}: there is no {reference}"
