"""The HTTP API: its document holds for any request; scoring changes nothing; token and limits hold. A real server."""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from stream_balance.core.balance import BalanceSettings
from stream_balance.core.records import Search
from stream_balance.core.settings import ModelSettings
from stream_balance.edge.api import HEADERS
from stream_balance.edge.board import Board
from stream_balance.edge.exporter import make_exposition
from stream_balance.edge.guard import read_token
from stream_balance.edge.http import HttpServer
from stream_balance.edge.http_settings import HttpSettings
from stream_balance.edge.logfile import read_events
from stream_balance.edge.wire import WireSettings
from stream_balance.errors import SettingsError
from stream_balance.service import Session, drive, make_codec, make_pipeline
from stream_balance.settings import Settings, load

WIRE = WireSettings(items_max=20, string_max=40, features_max=8, list_max=4)
CHOSEN = Settings(wire=WIRE, balance=BalanceSettings(strategy="smote_under"), model=ModelSettings(name="logistic"))
TOKEN = "0123456789abcdef"


def trained(log: Path, events: int = 1200) -> Session:
    """A session whose model has learned, its report pinned."""
    chosen = load(flags={"join": {"window_s": 300}})
    session = Session(make_pipeline(chosen), chosen, board=Board())
    drive(islice(read_events([log], make_codec(chosen)), events), session, threading.Event())
    return session


@pytest.fixture(scope="module")
def session(shop_log: Path) -> Session:
    return trained(shop_log)


@contextmanager
def serving(board: Board, limits: WireSettings | None = None, **chosen: Any) -> Iterator[httpx.Client]:
    """A client of a server over the board."""
    server = HttpServer(
        board, lambda: b"up 1\n", HttpSettings(port=0, report_wait_s=0.01, **chosen), limits or WireSettings()
    )
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            yield client
    finally:
        server.stop()


@pytest.fixture(scope="module")
def client(session: Session) -> Iterator[httpx.Client]:
    assert session.board is not None
    with serving(session.board) as client:
        yield client


@pytest.fixture
def search(shop_log: Path) -> dict[str, Any]:
    return next(found for line in shop_log.read_bytes().splitlines() if "items" in (found := orjson.loads(line)))


# --- any request: schemathesis makes them from the OpenAPI document ---


@pytest.fixture(scope="module")
def documented() -> Iterator[Any]:
    """The OpenAPI document of a server with small limits, so that they are met."""
    board = Board()
    Session(make_pipeline(CHOSEN), CHOSEN, board=board).end()
    board.ready = True
    with serving(board, WIRE) as client:
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")


@pytest.mark.parametrize("route", ["/metrics", "/health", "/ready", "/report.json", "/state.json", "/model", "/score"])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["well formed", "ill formed"])
def test_any_request_is_answered_as_documented(documented: Any, route: str, mode: GenerationMode) -> None:
    operations = {each.ok().path: each.ok() for each in documented.get_all_operations()}
    assert len(operations) == 7, "a new route is tested here too"

    @settings(
        max_examples=60 if route == "/score" else 5, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operations[route].as_strategy(generation_mode=mode))
    def holds(case: schemathesis.Case) -> None:
        case.call_and_validate()

    try:
        holds()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "a route without input cannot be asked wrongly"


# --- scoring ---


def test_a_score_is_what_the_loop_says_next(shop_log: Path) -> None:
    session = trained(shop_log)
    assert session.board is not None
    records = islice(read_events([shop_log], make_codec(session.settings)), 1200, 1400)
    compared = 0
    with serving(session.board) as asked:
        for record in records:
            if isinstance(record.event, Search) and not session.pipeline.joiner.is_duplicate(record.event):
                session.pipeline._mature(session.pipeline.joiner.mature(record.event.ts_us))
                before = session.pipeline.state_digest() if compared % 20 == 0 else None
                answer = asked.post("/score", content=record.data, headers={"content-type": "application/json"}).json()
                assert before is None or session.pipeline.state_digest() == before
                scored = session.pipeline.push(record.event, record.data)[0]
                assert [item["probability"] for item in answer["items"]] == scored.probability[:, 0].tolist()
                assert answer["model_version"] == scored.model_version
                compared += 1
            elif record.event is not None:
                session.pipeline.push(record.event, record.data)
    assert compared > 50


def test_ranks_are_a_permutation_by_probability(client: httpx.Client, search: dict[str, Any]) -> None:
    items = client.post("/score", json=search).json()["items"]
    assert sorted(item["rank"] for item in items) == list(range(1, len(items) + 1))
    best_first = sorted(items, key=lambda item: item["rank"])
    assert [item["probability"] for item in best_first] == sorted((i["probability"] for i in items), reverse=True)
    assert len({item["probability"] for item in items}) > 1, "the model has learned"


def test_only_the_items_are_needed(client: httpx.Client, search: dict[str, Any]) -> None:
    answer = client.post("/score", json={"items": search["items"]})
    assert answer.status_code == 200
    assert [item["item_id"] for item in answer.json()["items"]] == [item["item_id"] for item in search["items"]]


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"{", "application/json", 400, "not_json"),
        (b"[]", "application/json", 422, "wrong_type"),
        (b'{"items": []}', "application/json", 422, "no_items"),
        (b'{"items": [{"item_id": 7}]}', "application/json", 422, "wrong_type"),
        (b'{"item_id": "i1"}', "application/json", 422, "unknown_type"),
        (b'{"schema": 2, "items": [{"item_id": "a"}]}', "application/json", 422, "unknown_schema"),
        (b'{"ts": 99999999999999999999999, "items": [{"item_id": "a"}]}', "application/json", 422, "bad_time"),
        (b'{"items": [{"item_id": "a", "position": 1e30}]}', "application/json", 422, "wrong_type"),
        (b'{"items": [{"item_id": "a"}]}', "text/plain", 415, "wrong_content_type"),
        (b" " * 1_100_000, "application/json", 413, "too_large"),
    ],
)
def test_what_cannot_be_scored_is_told(client: httpx.Client, body: bytes, kind: str, status: int, reason: str) -> None:
    answer = client.post("/score", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["message"]


def test_before_there_is_a_model_the_answer_is_not_yet() -> None:
    with serving(Board()) as young:
        for answer in (
            young.post("/score", json={"items": [{"item_id": "a"}]}),
            young.get("/model"),
            young.get("/ready"),
        ):
            assert answer.status_code == 503
        assert young.get("/health").status_code == 200


def test_the_model_card(client: httpx.Client, session: Session) -> None:
    assert session.board is not None
    session.end()
    card = client.get("/model").json()
    assert card["version"] == session.pipeline.panel.version > 0
    assert card["samples"] == sum(session.pipeline.panel.samples().values())
    assert (card["name"], card["strategy"]) == ("logistic", "smote_under")
    assert card["learned_s_ago"] >= 0


def test_a_busy_loop_is_503_and_health_goes_on(client: httpx.Client, session: Session, search: dict[str, Any]) -> None:
    with session._turn:
        answer = client.post("/score", json=search)
        assert (answer.status_code, answer.json()["reason"]) == (503, "busy")
        assert client.get("/health").status_code == 200
    assert client.post("/score", json=search).status_code == 200


def test_an_operator_sees_what_became_of_requests(session: Session, search: dict[str, Any]) -> None:
    assert session.board is not None
    registry = make_exposition(session.board, {})

    def shown(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"stream_balance_{name}", labels) or 0.0

    answers = [{"answer": each} for each in ("scored", "refused", "busy")]
    before = [shown("score_requests_total", **each) for each in answers], shown("score_request_seconds_count")
    with serving(session.board) as asked:
        asked.post("/score", json=search)
        asked.post("/score", json={"items": []})
        with session._turn:
            asked.post("/score", json=search)
    now = [shown("score_requests_total", **each) for each in answers], shown("score_request_seconds_count")
    assert [a - b for a, b in zip(now[0], before[0], strict=True)] == [1, 1, 1]
    assert now[1] - before[1] == 3
    slow = shown("score_request_seconds_count") - shown("score_request_seconds_bucket", le="0.1")
    assert slow >= 1, "who waited in vain for its turn is among the slow"


def test_counters_of_a_state_that_was_saved_begin_at_nothing(shop_log: Path) -> None:
    before = trained(shop_log, events=300)
    before.fits.close()
    board = Board()
    again = Session(before.pipeline, before.settings, board=board)
    again.serve()
    assert again.report(digest=False)["events"]["search"] > 100
    shown = make_exposition(board, {}).get_sample_value
    assert shown("stream_balance_events_total", {"type": "search"}) == 0
    assert shown("stream_balance_examples_in_total") == 0
    assert (shown("stream_balance_held_impressions") or 0) > 0


# --- who may ask ---


@pytest.fixture(scope="module")
def guarded(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    assert session.board is not None
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN + "\n")
    with serving(session.board, token_file=path) as client:
        yield client


def test_a_token_opens_everything_and_the_probes_need_none(guarded: httpx.Client) -> None:
    basic = b64encode(f"any:{TOKEN}".encode()).decode()
    for route in ("/", "/metrics", "/report.json?fresh=false", "/state.json", "/model", "/openapi.json", "/runbook"):
        refused = guarded.get(route)
        assert refused.status_code == 401
        assert "www-authenticate" in refused.headers
        for header in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
            assert guarded.get(route, headers={"authorization": header}).status_code == 200
    assert guarded.post("/score", json={"items": [{"item_id": "a"}]}).status_code == 401
    assert guarded.get("/health").status_code == 200
    assert guarded.get("/ready").status_code in (200, 503)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", "Basic !!", "Digest x", f"{TOKEN}"]
)
def test_a_wrong_token_does_not(guarded: httpx.Client, header: str) -> None:
    assert guarded.get("/model", headers={"authorization": header}).status_code == 401


def test_answers_forbid_what_a_browser_need_not_do(client: httpx.Client) -> None:
    for route in ("/", "/health", "/nowhere"):
        answer = client.get(route)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("content", ["short", "ü" * 20])
def test_a_token_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(SettingsError, match="token_file"):
        read_token(path)
    with pytest.raises(SettingsError, match="token_file"):
        read_token(tmp_path / "none")
    assert read_token(None) is None


def test_the_server_is_on_loopback_by_default(client: httpx.Client) -> None:
    assert client.base_url.host == "127.0.0.1"


def test_pages_and_connections_beyond_their_bounds_are_turned_away() -> None:
    board = Board()
    with serving(board, streams_max=2, connections_max=8) as client, ExitStack() as opened:
        pages = [opened.enter_context(client.stream("GET", "/events")).iter_raw() for _ in range(2)]
        assert [next(page)[:6] for page in pages] == [b"event:"] * 2
        assert make_exposition(board, {}).get_sample_value("stream_balance_live_pages") == 2
        full = client.get("/events")
        assert (full.status_code, full.json()["reason"]) == (503, "too_many_streams")
        host = client.base_url.host, client.base_url.port or 0
        for _ in range(8):
            opened.enter_context(socket.create_connection(host))
        found = httpx.get(f"{client.base_url}/health")
        assert (found.status_code, found.text) == (503, "Service Unavailable")
