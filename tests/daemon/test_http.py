"""What the daemon says of itself over HTTP."""

from __future__ import annotations

import http.client
import json

import pytest

from reconciler.daemon.http import Answer, BadListen, HttpServer, answer, parse_listen
from reconciler.daemon.metrics import Metrics
from reconciler.daemon.status import LastRound, Status, after
from reconciler.daemon.step import Report
from reconciler.engine.model import Plan, Refusal

LAST = LastRound(1_700_000_000, ("config",), 0.02, 3)
START = Status("n1", "/etc/plumbline")


def get(path: str, status: Status, stuck: str = "") -> Answer:
    return answer(path, status, stuck, lambda: b"metrics\n")


def test_ready_once_converged_on_the_newest_content() -> None:
    assert get("/readyz", START).code == 503
    status = after(START, Report("abc", plans=(Plan("n1", ()),), converged=True), LAST)
    assert get("/readyz", status) == Answer(200, "text/plain; charset=utf-8", b"ok\n")
    assert get("/readyz", status._replace(pending=True)).code == 503


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (Report("abc", ("network.yaml:3: bad",), plans=(Plan("n1", ()),), converged=True), "abc stays in force): network.yaml:3: bad"),
        (Report("", ("network.yaml:3: bad",)), "no content is in force): network.yaml:3: bad"),
        (Report("abc", errors=("route 10.1.0.0/16: File exists",), plans=(Plan("n1", ()),)), "route 10.1.0.0/16: File exists"),
        (
            Report("abc", plans=(Plan("n1", (), refusal=Refusal("deletes 40 of 40", "read it"), digest="d1"),)),
            "plumbline apply /etc/plumbline --node n1 --force d1",
        ),
    ],
)
def test_not_ready_says_why(report: Report, why: str) -> None:
    given = get("/readyz", after(START, report, LAST))
    assert given.code == 503
    assert why in given.body.decode()
    assert get("/healthz", after(START, report, LAST)).code == 200, "never for drift"


def test_healthy_unless_the_loop_is_stuck() -> None:
    assert get("/healthz", START, stuck="no sign of life for 200 s").code == 503


def test_status_is_json_and_an_unknown_path_is_told_the_known_ones() -> None:
    status = after(START, Report("abc", plans=(Plan("n1", ()),), converged=True), LAST)
    said = json.loads(get("/status?pretty", status).body)
    assert (said["node"], said["converged"], said["spec"]["digest"]) == ("n1", True, "abc")
    assert said["lastConverged"] == "2023-11-14T22:13:20.000+00:00"
    assert get("/nothing", START).code == 404


def test_metrics_count_rounds() -> None:
    metrics = Metrics("n1")
    report = Report("abc", plans=(Plan("n1", ()),), converged=True)
    metrics.ended(report, after(START, report, LAST))
    text = metrics.text().decode()
    for line in (
        'plumbline_rounds_total{result="converged"} 1.0',
        'plumbline_triggers_total{trigger="config"} 1.0',
        "plumbline_last_converged_timestamp_seconds 1.7e+09",
        "plumbline_ready 1.0",
        "plumbline_spec_valid 1.0",
        "plumbline_round_duration_seconds_count 1.0",
    ):
        assert line in text.splitlines()


def test_it_serves_on_loopback() -> None:
    server = HttpServer("127.0.0.1:0", lambda path: get(path, START))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b"ok\n"
    connection.close()
    server.close()


def test_off_means_off() -> None:
    server = HttpServer("off", lambda path: get(path, START))
    assert server.port == 0
    server.close()


@pytest.mark.parametrize("text", ["9474", "localhost", "localhost:http", "1.2.3.4:99999"])
def test_a_bad_address_is_told_what_is_allowed(text: str) -> None:
    with pytest.raises(BadListen, match="HOST:PORT"):
        parse_listen(text)


def test_an_address_in_use_is_told_what_to_do() -> None:
    server = HttpServer("127.0.0.1:0", lambda path: get(path, START))
    with pytest.raises(BadListen, match="--listen off"):
        HttpServer(f"127.0.0.1:{server.port}", lambda path: get(path, START))
    server.close()


def test_addresses() -> None:
    assert parse_listen("[::1]:9474") == ("::1", 9474)
    assert parse_listen("off") is None


def test_thousands_of_mistakes_are_told_in_part() -> None:
    report = Report("", tuple(f"nodes.json:{line}: bad" for line in range(3000)), warnings=("w",) * 3000, errors=("e",) * 3000)
    status = after(START, report, LAST)
    assert [len(lines) for lines in (status.problems, status.warnings, status.errors)] == [101] * 3
    assert status.problems[-1] == "and 2900 more"
    metrics = Metrics("n1")
    metrics.ended(report, status)
    assert metrics.text().decode().count("plumbline_spec_invalid{") == 100
