"""The page at /: what it shows, to whom, and in a real browser."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.daemon.http import HttpServer, answer
from reconciler.daemon.page import counts as page_counts
from reconciler.daemon.page.lists import BadQuery, parse_query
from reconciler.daemon.page.served import page, rebound
from reconciler.daemon.page.view import LINES, View, told, view_after
from reconciler.daemon.patience import Fight
from reconciler.daemon.status import LastRound, Recent, Status, after
from reconciler.daemon.step import Report
from reconciler.daemon.turns import Standing
from reconciler.engine.model import Action, Change, Conflict, Line, Origin, Plan, Ref, Refusal, Verb, Wanted
from reconciler.engine.round import Outcome
from reconciler.facts.model import Backend, EndpointSlice, Facts, Host, Node, NodeAddress, Pod, Service, ServicePort
from reconciler.facts.order import natural
from reconciler.intents import Context
from reconciler.kernel.opponents import Opponent
from reconciler.kernel.service_counts import Count
from reconciler.kinds.bpf_map_entry import BpfMapEntryKey
from reconciler.kinds.bpf_map_entry.services import Entries, ServiceTable
from reconciler.kinds.route import route
from reconciler.spec.load import load_texts
from tests.daemon.browser import Browser, browser, missing
from tests.daemon.process import Daemon
from tests.namespaces import sh

NOW = 1_700_000_000.0
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
REFUSED = "it deletes 40 of 41 routes, limits.maxDeletes allows 30%"
SPEC = b"""\
apiVersion: plumbline.dev/v1alpha1
kind: ClusterNetwork
fabric: {podNetwork: [10.0.0.0/8]}
segments: {red: {vni: 101, allow: {namespaces: [default]}}, blue: {vni: 102}}
"""


def node(number: int, *, direct: bool = False, site: str = "") -> Node:
    high, low = divmod(number, 250)
    address = NodeAddress(f"192.168.{high}.{low + 1}", 16)
    return Node(f"n{number}", (address,), (f"10.{number // 256}.{number % 256}.0/24",), site=site, direct_routing=direct)


def pod(name: str, on: str, address: str, networks: str) -> Pod:
    labels = {"vxlan.openvnf.org": "true"}
    return Pod("default", name, name, on, (address,), labels, {"vxlan.openvnf.org/networks": networks}, phase="Running")


def service(name: str, ready: int, backends: int) -> Service:
    ends = tuple(Backend(f"10.1.0.{number}", ready=number < ready) for number in range(backends))
    ports = (ServicePort("http", "TCP", 80, 30080),)
    return Service(
        "default", name, "NodePort", ("172.16.0.9",), ports, slices=(EndpointSlice(f"default/{name}-1", f"default/{name}", (), ends),)
    )


def context(nodes: int = 12, hostile: str = "") -> Context:
    loaded = load_texts([(SPEC, "network.yaml")])
    known = [node(number, direct=number % 3 == 1, site="cloud" if number % 10 == 9 else "") for number in range(1, nodes + 1)]
    if hostile:
        known.append(Node(f"x{hostile}", (NodeAddress("192.0.2.1", 24),), site=hostile))
    pods = (
        pod("a", "n1", "10.0.1.2", "red,blue"), pod("b", "n2", "10.0.2.2", "red"), pod(f"c{hostile}", "n1", "10.0.1.3", "grey"),
    )  # fmt: skip
    facts = Facts({one.name: one for one in known}, Host("eth0", 1500), pods, (service("web", 2, 3), service("db", 0, 1)))
    return Context(loaded.spec, facts, "n1", loaded.where)


def action(verb: Verb, number: int, why: str = "") -> Action:
    row = route("", f"10.0.{number % 250}.0/24", type="blackhole")._replace(origin=(Origin("fabric", f"node n{number}", "network.yaml:7"),))
    change = Change("route", row if verb is Verb.DELETE else None, None if verb is Verb.DELETE else row, why)
    line = Line("", f"ip route {'del' if verb is Verb.DELETE else 'add'} 10.0.{number % 250}.0/24 via 10.0.1.12 dev eth0 proto 94")
    return Action(verb, change, Ref("route", row.key), (), (line,), note=why)


def outcome(one: Action) -> Outcome:
    return Outcome(one, None)


def report(context: Context, hostile: str = "") -> Report:
    made = [action(Verb.CREATE, number) for number in range(2, 8)] + [action(Verb.DELETE, 9, "nothing in network.yaml wants this")]
    held = action(Verb.CREATE, 4)._replace(held=f"a device is missing{hostile}")
    conflict = Conflict(
        "link", action(Verb.CREATE, 3).change.new, None, f"link plumb0 is somebody else's{hostile}", "take it away, or say adopt: true"
    )
    refusal = Refusal(REFUSED, "read it")
    left = Plan("n1", (held, made[-1]), (conflict,), (), refusal, "d" * 64)
    first = Plan("n1", tuple(made), digest="e" * 64)
    return Report("ab" * 32, warnings=(f"network.yaml:3: n9 alone is at site cloud{hostile}",), plans=(first, left),
                  outcomes=tuple(map(outcome, made)), errors=(f"route 10.0.9.0/24: No such device{hostile}",), context=context)  # fmt: skip


WAITS, TURN = "rollout.maxUnavailable: waits for n7", "plumbline-rollout-0"


def served(*names: str) -> Wanted:
    """Services whose counters are read; `counted` says what they are."""
    table = ServiceTable(
        BpfMapEntryKey("/nowhere/maps/pl_front_1", b""),
        "/nowhere/maps/pl_back_1",
        "/nowhere/maps/pl_range_1",
        dict.fromkeys(names, Entries()),
    )
    return Wanted({"bpf_map_entry": {table.key: table}})


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the maps would say."""
    lists = {"default/web:http/TCP IPv4 all": Count(1234567, 20, 2000), "default/web:http/TCP IPv6 all": Count(3, 10, 1000)}
    monkeypatch.setattr(page_counts, "some", lambda maps, services: lists)
    monkeypatch.setattr(page_counts, "drops", lambda maps: {"no_backend": 4711, "malformed": 0})


def told_by(context: Context, hostile: str = "") -> tuple[Status, View]:
    said = report(context, hostile)._replace(wanted=served("default/web", "default/db"), rolled_back="fe" * 32)
    repaired = Ref("route", route("", "10.0.2.0/24", type="blackhole").key)
    fight = Fight(repaired, 11, 4.0, 0.0, f"systemd-networkd (pid 512){hostile}")
    last = LastRound(NOW, ("event: route", "resync"), 0.0213, 7)
    status = after(Status("n1", "/etc/plumbline", state="/var/lib/plumbline"), said, last, (fight,))
    recent = (
        Recent(NOW - 90, f"route 254 10.0.2.0/24{hostile}", "was missing", True),
        Recent(NOW - 30, "link plumb0", "differs in mtu", False),
    )
    opponent = Opponent(
        f"flannel{hostile}", "makes a VXLAN device too", "flannel.1", "stop it: systemctl disable --now flanneld", level="problem"
    )
    status = status._replace(rollout=Standing(2, TURN, WAITS))
    return status._replace(recent=recent, found=2, repaired=1, opponents=(opponent,)), view_after(View(), said, NOW)


@contextmanager
def serving(status: Status, view: View) -> Iterator[str]:
    server = HttpServer("127.0.0.1:0", lambda path: answer(path, status, "", lambda: b"", view))
    try:
        yield f"http://127.0.0.1:{server.port}/"
    finally:
        server.close()


# -- what is said, to whom ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:9474", "LOCALHOST.:1", "n1.localhost:80", "127.0.0.1:9474", "127.8.8.8", "[::1]:9474", "10.0.0.1", None],
)
def test_who_names_this_host_is_answered(host: str | None) -> None:
    assert rebound(host, "127.0.0.1") == ""
    assert rebound(host, "::1") == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9474",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[evil.example]:1",
        "notlocalhost",
        "x@localhost",
    ],
)
def test_a_name_of_somebody_else_that_leads_to_loopback_is_not(host: str) -> None:
    assert "localhost" in rebound(host, "127.0.0.1")
    assert "localhost" in rebound(host, "::1")
    assert rebound(host, "192.0.2.1") == "", "who listens on other addresses has names for them"


def asked(url: str, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=5)
    connection.request(method, path, headers=headers)
    answered = connection.getresponse()
    answered.body = answered.read()  # type: ignore[attr-defined]
    connection.close()
    return answered


def test_every_path_is_read_only_and_kept_from_other_origins() -> None:
    with serving(*told_by(context())) as url:
        for path in ("/", "/healthz", "/readyz", "/metrics", "/status", "/status/plan", "/status/peers", "/nothing"):
            assert asked(url, path, Host="evil.example").status == 421
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                assert asked(url, path, method).status == 501
            headers = asked(url, path).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Access-Control-Allow-Origin"] is None
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_page_is_one_file_that_may_load_nothing_else() -> None:
    with serving(*told_by(context())) as url:
        answered = asked(url, "/")
    text, rules = answered.body.decode(), dict(rule.split(" ", 1) for rule in answered.headers["Content-Security-Policy"].split("; "))  # type: ignore[attr-defined]
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert (rules["base-uri"], rules["form-action"], rules["frame-ancestors"]) == ("'none'",) * 3
    assert re.fullmatch("'sha256-[^']+'", rules["script-src"]), "and no unsafe-inline"
    assert re.fullmatch("'sha256-[^']+'", rules["style-src"])
    assert not re.search(r"(src|href)=[\"']?(?!#|/status|/metrics|data:)\w*[:/]", text)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert page() is page(), "read once"


def test_the_plan_is_cut_to_what_a_person_reads() -> None:
    many = Plan("n1", tuple(action(Verb.CREATE, number) for number in range(LINES + 7)), digest="f" * 64)
    view = view_after(View(), Report("ab", plans=(many, Plan("n1", ())), outcomes=tuple(map(outcome, many.actions))), NOW)
    said = told(view, "/status/plan", "")
    assert (said["left"]["counts"], said["left"]["lines"]) == ("nothing to do", [])
    assert (said["done"]["more"], len(said["done"]["lines"])) == (7, LINES)
    assert said["done"]["lines"][0] == {
        "sign": "+", "text": "ip route add 10.0.0.0/24 via 10.0.1.12 dev eth0 proto 94", "comment": "fabric: node n0 (network.yaml:7)",
    }  # fmt: skip
    later = view_after(view, Report("ab", plans=(Plan("n1", ()),)), NOW + 60)
    assert told(later, "/status/plan", "")["done"]["at"] == said["done"]["at"], "a round with nothing to do did nothing last"


def test_a_round_without_a_plan_leaves_what_was_known() -> None:
    _, view = told_by(context())
    assert view_after(view, Report("ab", errors=("the kernel does not answer",)), NOW) == view


def test_the_same_content_is_not_listed_again() -> None:
    here = context()
    _, view = told_by(here)
    again = view_after(view, Report("ab", plans=(Plan("n1", ()),), context=here._replace(facts=here.facts._replace())), NOW)
    assert again.lists is view.lists
    moved = here._replace(facts=here.facts._replace(nodes=dict(here.facts.nodes)))
    assert view_after(view, Report("ab", plans=(Plan("n1", ()),), context=moved), NOW).lists is not view.lists


def peers(view: View, query: str = "") -> list[str]:
    return [one["name"] for one in told(view, "/status/peers", query)["items"]]


def test_peers_are_searched_filtered_and_paged() -> None:
    _, view = told_by(context())
    everybody = told(view, "/status/peers", "")
    assert (everybody["total"], everybody["mode"], everybody["via"]) == (11, "auto", {"overlay": 8, "direct": 3, "none": 0})
    assert peers(view) == [f"n{number}" for number in range(2, 13)], "n2 before n10"
    assert everybody["items"][0] == {
        "name": "n2", "addresses": ["192.168.0.3/16"], "publicAddresses": [], "podCIDRs": ["10.0.2.0/24"], "site": "",
        "via": "overlay", "why": "directRouting is not on at n2", "waiting": 0,
    }  # fmt: skip
    assert [one["waiting"] for one in everybody["items"]][:3] == [0, 0, 1], "n4 is held back"
    assert peers(view, "via=direct") == ["n4", "n7", "n10"]
    assert peers(view, "q=CLOUD") == ["n9"]
    assert peers(view, "q=10.0.1&via=direct") == ["n10"]
    assert peers(view, "q=n5+192.168.0.6") == ["n5"]
    assert peers(view, "offset=9&limit=1") == ["n11"]
    assert told(view, "/status/peers", "q=n1&limit=1")["matching"] == 3, "n10, n11 and n12, not whatever n1 has to do with"
    assert everybody["node"]["uplink"] == "eth0"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "offset=-1",
        "offset=99999999999",
        "via=tunnel",
        "sort=name",
        "q=1&q=2&" + "a=1&" * 20,
        "limit=\u0661",
    ],
)
def test_a_query_that_makes_no_sense_is_told_what_is_allowed(query: str) -> None:
    with pytest.raises(BadQuery, match="allowed"):
        parse_query(query)
    assert answer(f"/status/peers?{query}", Status("n1", "x"), "", lambda: b"").code == 400


def test_segments_and_services() -> None:
    _, view = told_by(context())
    said = told(view, "/status/segments", "")
    assert [(one["name"], one["vnis"], one["members"], one["nodes"]) for one in said["items"]] == [
        ("blue", [102], 1, 1),
        ("red", [101], 2, 2),
    ]
    assert said["items"][1]["here"] == [{"pod": "default/a", "device": "red", "ip": []}]
    assert "there is no such segment" in said["faults"][0]
    assert [one["name"] for one in told(view, "/status/segments", "q=re")["items"]] == ["red"]
    said = told(view, "/status/services", "q=web")
    assert (said["known"], said["total"], said["matching"]) == (True, 2, 1)
    assert {name: said["items"][0][name] for name in ("clusterIPs", "ready", "backends")} == {
        "clusterIPs": ["172.16.0.9"],
        "ready": 2,
        "backends": 3,
    }


def test_what_was_counted_of_the_services_that_are_shown(counted: None) -> None:
    _, view = told_by(context())
    said = told(view, "/status/services", "")
    assert {one["name"]: one["counted"] for one in said["items"]} == {
        "default/db": None,
        "default/web": {"connections": 1234570, "packets": 30, "bytes": 3000},
    }
    assert (said["drops"], said["uncounted"]) == ({"no_backend": 4711, "malformed": 0}, "")


def test_counters_that_cannot_be_read_are_no_reason_to_show_nothing() -> None:
    _, view = told_by(context())
    said = told(view, "/status/services", "")
    assert (said["total"], said["drops"], [one["counted"] for one in said["items"]]) == (2, None, [None, None])
    assert said["uncounted"].startswith("/nowhere/maps: ")
    unserved = told(view._replace(table=None), "/status/services", "")
    assert (unserved["drops"], unserved["uncounted"]) == (None, ""), "without a section services nobody counts"


def test_before_the_first_round_nothing_is_known_and_nothing_fails() -> None:
    said = {
        path: json.loads(answer(path, Status("n1", "x"), "", lambda: b"").body)
        for path in ("/status/plan", "/status/peers", "/status/segments", "/status/services")
    }
    assert said["/status/plan"] == {"left": None, "done": None}
    assert (said["/status/peers"]["node"], said["/status/segments"]["known"], said["/status/services"]["known"]) == (None, False, False)


def test_numbers_in_names_are_numbers() -> None:
    assert sorted(["n10", "n2", "a", "2", "n", "10"], key=natural) == ["2", "10", "a", "n", "n2", "n10"]


# -- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if why := missing():
        pytest.skip(why)
    with browser(tmp_path_factory.mktemp("browser")) as found:
        found.size(1280, 900)
        yield found


def opened(window: Browser, url: str) -> None:
    window.open(url)
    window.until("return document.body.dataset.looked")
    assert window.complaints() == []


LOOK = "document.dispatchEvent(new Event('visibilitychange'))"  # at once, as when the reader comes back to the page
CONTRAST = """
const light = rgb => { const [r, g, b] = rgb.map(one => (one /= 255) <= .04045 ? one / 12.92 : ((one + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
const parse = text => text.match(/[\\d.]+/g).map(Number);
const back = one => { for (; one; one = one.parentElement) { const found = parse(getComputedStyle(one).backgroundColor); if (found.length < 4 || found[3]) return found.slice(0, 3); } };
const poor = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const at = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !at.checkVisibility() || at.matches("script, :disabled")) continue;
  const [a, b] = [light(parse(getComputedStyle(at).color).slice(0, 3)), light(back(at))].sort((x, y) => y - x);
  if ((a + .05) / (b + .05) < 4.5) poor.push(walk.currentNode.data.trim().slice(0, 40) + " " + ((a + .05) / (b + .05)).toFixed(1));
}
return [...new Set(poor)];
"""


def named(window: Browser) -> list[tuple[str, str]]:
    """Role and name of what a screen reader tells of."""
    tree = window.devtools("Accessibility.getFullAXTree")["nodes"]
    return [(one["role"]["value"], one.get("name", {}).get("value", "")) for one in tree if not one["ignored"]]


def test_it_shows_what_waits_and_by_which_command(window: Browser, tmp_path: Path, counted: None) -> None:
    with serving(*told_by(context())) as url:
        opened(window, url)
        text: str = window.js("return document.body.innerText")
        for wanted in (
            "not ready", REFUSED, f"plumbline confirm {'d' * 64}", "link plumb0 is somebody else's", "take it away, or say adopt: true", "No such device",
            "? ip route add 10.0.4.0/24 via 10.0.1.12 dev eth0 proto 94   # a device is missing", "- ip route del 10.0.9.0/24", "6 to create, 1 to delete",
            "put back 11 times", "systemd-networkd (pid 512)", "2 rows changed by others since the start, 1 put back", "flannel", "directRouting is not on at n2",
            "n1 and n4 share a subnet", "default/a", "2 of 3 ready", "there is no such segment", "1 row not in place",
            "1,234,570", "3,000", "4,711 no backend", f"network.yaml {'fe' * 6} cut this node off, and was undone",
            f"2 nodes at once; it is this node's turn (Lease {TURN}); {WAITS}",
        ):  # fmt: skip
            assert wanted in text
        assert window.js("return document.title") == "not ready: n1 · plumbline"
        for scheme in ("light", "dark"):
            window.scheme(scheme)
            assert window.js(CONTRAST) == [], "WCAG 2.2, 1.4.3: 4.5 to 1"
            window.picture(tmp_path / f"{scheme}.png")
        window.scheme("light")
        said = named(window)
        assert [name for role, name in said if role in ("button", "searchbox", "link", "table", "region") and not name] == []
        assert [name for role, name in said if role == "heading"][:4] == ["n1", "State", "Plan", "Drift"]
        assert {name for role, name in said if role == "region"} >= {"State", "Plan", "What is left to do", "Peers", "Segments"}
        assert {"create", "delete", "held", "refused"} <= {name for role, name in said if role == "image"}, "signs are read as words"
        assert {name for role, name in said if role == "searchbox"} == {"Search Peers"}, "short lists have none"
        assert "Search Segments" not in text, "nor words about one"
    window.js(LOOK)
    window.until("return !document.getElementById('silent').hidden")
    assert "the daemon does not answer" in window.js("return document.getElementById('silent').innerText")
    assert "default/a" in window.js("return document.body.innerText"), "what was known stays in sight"
    window.complaints()


def test_ten_thousand_peers_with_hostile_names(window: Browser, tmp_path: Path) -> None:
    with serving(*told_by(context(10_000, HOSTILE), HOSTILE)) as url:
        opened(window, url)
        assert window.js("return document.querySelectorAll('#peers tbody tr').length") == 100
        assert window.js("return document.querySelectorAll('*').length") < 3000
        assert window.js("return [document.querySelectorAll('img').length, document.querySelectorAll('script').length]") == [0, 1]
        assert "1 to 100 of 10000" in window.js("return document.getElementById('peers').innerText")
        window.type("#q-peers", "n9987")
        window.until("return document.querySelectorAll('#peers tbody tr').length === 1")
        assert "10.39.3.0/24" in window.js("return document.querySelector('#peers tbody').innerText")
        window.js("document.getElementById('q-peers').value = ''")
        window.type("#q-peers", "onerror")
        window.until("return document.querySelector('#peers tbody th').innerText.startsWith('x<img')")
        window.picture(tmp_path / "hostile.png")
        window.js("const one = document.getElementById('q-peers'); one.value = ''; one.dispatchEvent(new Event('input'))")
        window.until("return document.querySelectorAll('#peers tbody tr').length === 100")
        window.click("#peers > .bar:last-child button:last-child")
        window.until("return document.querySelector('#peers tbody th').innerText === 'n102'")
        assert window.js("return document.title") == "not ready: n1 · plumbline"
        assert window.complaints() == []


def test_all_of_it_by_keyboard_and_nothing_wider_than_a_telephone(window: Browser) -> None:
    tab, enter = "\ue004", "\ue007"
    with serving(*told_by(context(300))) as url:
        opened(window, url)
        window.press(tab)
        assert window.js("return document.activeElement.className") == "skip"
        seen: list[Any] = []
        for _ in range(40):
            window.press(tab)
            focused = window.js(
                "const one = document.activeElement; return [one.tagName, one.textContent.slice(0, 12), one.id, getComputedStyle(one).outlineStyle]"
            )
            if focused[0] == "BODY":
                break
            seen.append(focused)
            if focused[1].startswith("direct"):
                window.press(enter)
                window.until("return document.querySelector('#peers [data-via=direct]').getAttribute('aria-pressed') === 'true'")
                assert window.until("return document.activeElement.dataset.via") == "direct", "the focus stays where the reader is"
        reached = {(name, text or ident) for name, text, ident, _ in seen}
        assert {("BUTTON", "Pause"), ("BUTTON", "Copy"), ("INPUT", "q-peers"), ("A", "/metrics")} <= reached
        assert all(outline == "solid" for *_, outline in seen), "what has the focus is seen to have it"
        window.size(360, 800)
        assert window.js("return document.documentElement.scrollWidth") <= 360
        window.size(1280, 900)


@pytest.mark.kernel
def test_of_a_running_daemon(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """Its peers, and what somebody broke, without a word to it."""
    if why := missing():
        pytest.skip(why)
    daemon = start()
    daemon.until(daemon.ready)
    assert daemon.get("/status/peers?limit=0")[0] == 400
    with browser(tmp_path) as window:
        opened(window, "http://127.0.0.1:9474/")
        window.until("return document.getElementById('state').innerText === 'ready'")
        assert "fabric: node n3 (network.yaml:6)" in window.js("return document.getElementById('plan').innerText")
        assert "directRouting is not on at n1 and n2" in window.js("return document.getElementById('peers').innerText")
        sh("ip route del 10.244.3.0/24")
        daemon.until(lambda: bool(daemon.status["drift"]["recent"]))
        window.js(LOOK)
        window.until("return document.getElementById('drift').innerText.includes('10.244.3.0/24')")
        assert "was missing" in window.js("return document.getElementById('drift').innerText")
        assert window.complaints() == []
