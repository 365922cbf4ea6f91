"""When a training is asked for and where its answer enters, whatever the child does, also across a restart."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from stream_balance.core.digest import Digest
from stream_balance.core.records import Columns
from stream_balance.core.retrain import KIND, GanSettings, Retrain
from stream_balance.core.synthesis import (
    Quality,
    Refusal,
    Release,
    TrainingSet,
    Vetting,
    outcome_to_bytes,
)
from stream_balance.core.training_rows import Moment, held_out, training_set
from stream_balance.core.window import Window, WindowSettings

QUALITY = Quality(0.6, 0.9, 0.5, 0.0, 0.0, 0.1, 0.2, 0.1)
DAY_US = 86_400_000_000
SETTINGS = GanSettings(
    swap_after_events=50, retrain_events=200, check_events=10, retrain_age_s=86_400.0, release_age_s=3 * 86_400.0,
    copula_rows_min=3,
)  # fmt: skip


class Answers:
    """Fits whose answers are known; keeps what it was asked. A word stands for no answer and its reason."""

    def __init__(self, answers: Iterable[Release | Refusal | str | bytes] = ()) -> None:
        self.answers = list(answers)
        self.asked: list[TrainingSet] = []
        self.early: int | None = None
        self.looks: list[int] = []

    def submit(self, kind: str, request: bytes) -> int:
        assert kind == KIND
        self.asked.append(TrainingSet.from_bytes(request))
        return len(self.asked) - 1

    def _answer(self, ticket: int) -> Release | Refusal | str | bytes:
        return self.answers[ticket] if ticket < len(self.answers) else self.answers[-1]

    def take(self, ticket: int) -> bytes | None:
        answer = self._answer(ticket)
        if isinstance(answer, str):
            return None
        return answer if isinstance(answer, bytes) else outcome_to_bytes(answer)

    def enters(self, ticket: int, events: int) -> bool:
        self.looks.append(events)
        return self.early is not None and events >= self.early

    def why(self, ticket: int) -> str:
        return str(self._answer(ticket))


def release(label: int = 1) -> Release:
    return Release(label, np.ones((5, 2)), Vetting("gan", "helps", "gain", 0.1, QUALITY, ()), weights=b"w")


def refusal(reason: str) -> Refusal:
    return Refusal(1, reason, "because", weights=b"w", others=(Vetting("gan", "refused", reason, 0.0, QUALITY, ()),))


def window(rows: int = 40) -> Window:
    found = Window(WindowSettings())
    rng = np.random.default_rng(0)
    for i in range(rows):
        found.add(rng.normal(size=2), i % 3, i % 2, i)
    return found


def moment(events: int, *, now_us: int = 0, alarms: int = 0, rare: tuple[int, ...] = (1,), rows: int = 40) -> Moment:
    columns = Columns()
    columns.add("a"), columns.add("b", nominal=True)
    return Moment(events, now_us, alarms, window(rows), columns, [0.8, 0.1, 0.1], rare)


def run(retrain: Retrain, events: Iterable[int], **more: int) -> None:
    for count in events:
        if retrain.is_due(count):
            retrain.turn(moment(count, **more))


def started(answers: Iterable[Release | Refusal | str | bytes], **settings: object) -> tuple[Retrain, Answers]:
    retrain = Retrain(GanSettings(**(SETTINGS.model_dump() | settings)), 7, "logistic", ("none", "bought", "saved"))
    fits = Answers(answers)
    retrain.attach(fits)
    return retrain, fits


def positions(retrain: Retrain) -> list[int]:
    return [outcome.position for outcome in retrain.history]


def test_an_answer_enters_at_its_number_of_events_and_no_sooner() -> None:
    retrain, _ = started([release()])
    run(retrain, range(60))
    assert (retrain.requests, retrain.releases, retrain.pool.release(1)) == (1, 0, None)
    run(retrain, [60])
    assert retrain.pool.release(1) is not None
    assert positions(retrain) == [60]


def test_an_answer_that_may_enter_early_does_so_at_the_next_look() -> None:
    retrain, fits = started([release()])
    fits.early = 33
    run(retrain, range(60))
    assert fits.looks == [20, 30, 40]
    assert [(each.position, each.early) for each in retrain.history] == [(40, True)]
    fits.early = None
    run(retrain, range(60, 300))
    assert [(each.position, each.early) for each in retrain.history] == [(40, True), (260, False)]


def test_at_most_one_request_is_open() -> None:
    retrain, fits = started([release()], swap_after_events=500, retrain_events=20)
    run(retrain, range(509), rare=(1, 2))
    assert len(fits.asked) == 1


@pytest.mark.parametrize(
    ("now_us", "alarms", "why"), [(0, 0, None), (0, 1, "drift"), (DAY_US, 0, "age"), (4 * DAY_US, 0, "age")]
)
def test_the_next_request_comes_by_age_or_alarm(now_us: int, alarms: int, why: str | None) -> None:
    retrain, _ = started([release()])
    run(retrain, range(61))
    run(retrain, [100], now_us=now_us, alarms=alarms)
    assert (retrain.request.reason if retrain.request else None) == why


def test_the_next_request_comes_by_events() -> None:
    retrain, _ = started([release()])
    run(retrain, range(211))
    assert retrain.request is not None
    assert (retrain.request.reason, retrain.request.asked_at, retrain.request.enters_at) == ("events", 210, 260)


def test_an_expired_release_is_asked_for_anew() -> None:
    retrain, _ = started([release()], release_age_s=3_600.0)
    run(retrain, range(61))
    run(retrain, [100], now_us=3_601_000_000)
    assert retrain.pool.release(1) is None
    assert retrain.request is not None
    assert retrain.request.reason == "stale"


def test_with_too_few_rows_nothing_is_asked_for() -> None:
    retrain, fits = started([release()], copula_rows_min=200)
    run(retrain, range(300))
    assert (fits.asked, retrain.request) == ([], None)


def test_after_refusals_the_wait_grows_up_to_its_bound() -> None:
    retrain, _ = started([refusal("c2st")], backoff_max=4)
    run(retrain, range(4_000), alarms=1)
    asked = [position - 50 for position in positions(retrain)]
    assert np.diff(asked).tolist() == [400, 800, 800, 800, 800]
    assert retrain.refusals == {"c2st": 6}


@pytest.mark.parametrize(
    ("reasons", "kept"),
    [
        (["c2st"], [b"", b"w", b"", b"w", b""]),
        (["not_finite", "pairs"], [b"", b"w", b"", b"w", b""]),
        (["inconclusive"], [b""] + [b"w"] * 4),
        (["harm"], [b""] + [b"w"] * 4),
        (["constant"], [b""] + [b"w"] * 4),
        (["c2st", "harm", "c2st", "c2st"], [b"", b"w", b"w", b"w", b""]),
        (["c2st", "timeout", "killed", "c2st"], [b"", b"w", b"w", b"w", b""]),
    ],
)
def test_weights_are_kept_until_two_refusals_of_quality(reasons: list[str], kept: list[bytes]) -> None:
    childs = {"timeout", "killed"}
    retrain, fits = started([each if each in childs else refusal(each) for each in reasons], backoff_max=1)
    run(retrain, range(1_000))
    assert [request.weights for request in fits.asked] == kept


def test_a_refusal_for_want_of_rows_does_not_lengthen_the_wait() -> None:
    retrain, fits = started([refusal("too_few_rows"), release()])
    run(retrain, range(111))
    assert (retrain.refusals, retrain.releases, len(fits.asked)) == ({"too_few_rows": 1}, 1, 2)


@pytest.mark.parametrize("private", [False, True])
def test_what_is_asked_for_has_rows_enough_for_the_child(private: bool) -> None:
    recipe = {"copula_rows_min": 20, "gan_rows_min": 40, "privacy": {"on": private}}
    for seed in range(20):
        retrain, fits = started([release()], **recipe)
        rng, found, events = np.random.default_rng(seed), Window(WindowSettings()), 0
        while not fits.asked:
            events += 10
            for _ in range(10):
                found.add(rng.normal(size=2), int(rng.random() < 0.1), 0, events)
            retrain.turn(replace(moment(events), window=found))
        asked = fits.asked[0]
        needed, learned = 40 if private else 20, int((~asked.held_out).sum())
        assert needed <= learned < needed + 10, seed  # no sooner, and as soon as it can be
        assert asked.held_out.sum() >= 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("timeout", "timeout"),
        ("killed", "killed"),
        (b"?", "garbage"),
        (release(2), "garbage"),
        (replace(release(), rows=np.ones((5, 3))), "garbage"),
        (replace(release(), rows=np.ones((5, 1))), "garbage"),
        (replace(release(), epsilon="much"), "garbage"),
    ],
)
def test_what_is_no_answer_is_a_refusal_with_its_reason(answer: Release | str | bytes, reason: str) -> None:
    retrain, _ = started([answer])
    run(retrain, range(61))
    assert (retrain.refusals, retrain.releases) == ({reason: 1}, 0)


def test_without_a_trainer_every_request_is_refused() -> None:
    retrain = Retrain(SETTINGS, 7, "logistic", ("none", "bought"))
    run(retrain, range(61))
    assert retrain.refusals == {"no_trainer": 1}


def test_what_private_trainings_spent_goes_along_and_a_spent_budget_ends_them() -> None:
    one = ((1.0, 0.5, 10),)
    retrain, fits = started([replace(release(), spent=one, epsilon=2.0), refusal("privacy_budget")])
    run(retrain, range(3_000), alarms=1)
    assert [request.spent for request in fits.asked] == [(), one]
    # Whoever restores the state goes on with the bill, and never asks again for a class whose budget is spent.
    restored: Retrain = pickle.loads(pickle.dumps(retrain))
    again = Answers([release()])
    restored.attach(again)
    for each in (restored, retrain):
        run(each, range(3_000, 6_000), alarms=2)
    assert (again.asked, digest(restored)) == ([], digest(retrain))
    told = retrain.metrics(0)
    assert (told.epsilon, told.refusals) == ({"bought": 2.0}, {"privacy_budget": 1})
    assert [outcome.epsilon for outcome in told.history] == [2.0, None]


def test_the_class_that_waited_longest_goes_first() -> None:
    retrain, fits = started([release(1), release(2)])
    run(retrain, range(121), rare=(1, 2))
    assert [request.label for request in fits.asked] == [1, 2]
    assert sorted(retrain.pool.shares()) == [1, 2]


def test_a_refusal_leaves_the_release_before_in_use() -> None:
    retrain, _ = started([release(), refusal("harm")])
    run(retrain, range(300))
    assert (retrain.releases, retrain.refusals) == (1, {"harm": 1})
    assert retrain.pool.release(1) is not None


def test_the_age_of_a_release_is_told_where_there_is_no_watermark_too() -> None:
    retrain, _ = started([release()])
    run(retrain, range(61), now_us=5_000_000)
    assert retrain.metrics(8_000_000).pool["bought"].age_s == 3.0
    assert retrain.metrics(-(2**62)).pool["bought"].age_s == 0.0  # a table


def digest(retrain: Retrain) -> str:
    found = Digest()
    found.add(retrain.digest_state())
    return found.hex()


@pytest.mark.parametrize("cut", [5, 10, 11, 40, 59, 60, 61, 215, 300])
def test_a_restored_state_asks_again_and_comes_to_the_same(cut: int) -> None:
    whole, fits = started([release(), refusal("c2st")])
    run(whole, range(400))
    first, _ = started([release(), refusal("c2st")])
    run(first, range(cut))
    restored: Retrain = pickle.loads(pickle.dumps(first))
    answers = Answers()
    # What it asks again is what was asked: so the answer of a pure function is the same.
    answers.answers = [
        [release(), refusal("c2st")][min(number, 1)]
        for number in range(first.requests - (first.request is not None), 9)
    ]
    restored.attach(answers)
    run(restored, range(cut, 400))
    assert digest(restored) == digest(whole)
    assert restored.metrics(0) == whole.metrics(0)
    begun = len(fits.asked) - len(answers.asked)
    for mine, other in zip(answers.asked, fits.asked[begun:], strict=True):
        assert mine.to_bytes() == other.to_bytes()


@pytest.mark.parametrize("apart", [1, 7, 10, 34, 55, 89, 100, 144, 233, 377, 610, 987, 2**20])
def test_a_quarter_of_the_rows_is_held_out_however_regularly_they_come(apart: int) -> None:
    for start in (0, 12_345, 10**9):
        share = held_out(start + apart * np.arange(400)).mean()
        assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5, start


def test_rows_held_out_are_the_same_in_every_request() -> None:
    found = window(900)
    before, first = found.numbered(1, 1_000)
    kept = {number: row.tobytes() for number, row in zip(first.tolist(), before, strict=True)}
    out = dict(zip(first.tolist(), held_out(first).tolist(), strict=True))
    for i in range(900, 1_200):
        found.add(np.zeros(2), i % 3, i % 2, i)
    rows, numbers = found.numbered(1, 250)
    again = dict(zip(numbers.tolist(), held_out(numbers).tolist(), strict=True))
    both = out.keys() & again.keys()
    assert len(both) == 150
    assert all(out[n] == again[n] for n in both)
    assert all(kept[n] == row.tobytes() for n, row in zip(numbers.tolist(), rows, strict=True) if n in both)
    assert 0.2 < np.mean(list(out.values())) < 0.3


def test_a_request_holds_others_in_their_shares_and_all_of_one_width() -> None:
    columns = Columns()
    columns.add("a"), columns.add("b", nominal=True), columns.add("c")
    found = window(900)
    found.add(np.zeros(3), 2, 0, 10_000)
    recipe = SETTINGS.recipe().model_copy(update={"others_max": 90})
    wanted = training_set(Moment(1, 0, 0, found, columns, [0.8, 0.1, 0.1], (1,)), 1, recipe, "logistic", 3, b"")
    assert wanted.rows.shape == (300, 3)
    assert wanted.others.shape == (90, 3)
    assert np.isnan(wanted.rows[:, 2]).all()
    assert (wanted.nominal, wanted.rate) == ((1,), 0.1)
