"""The kinds of load that are compared: one record each. Whoever adds a case adds one here.

How it is measured is in measure.py, what the gateways are told about routes in tables.py.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One kind of load.

    `bytes` is the length of each answer's body. With `requests` a run ends after so many and not after a time, so that no
    answer is cut off half paid for. `rate` is requests a second in an open loop, whatever the gateway does; without it
    each connection asks as fast as it is answered. `table` is how many routes there are, each to an upstream of its own
    at an address of its own; `{}` in the path is one of them, by chance. `swaps` is how often in a second the table is
    replaced by another. The row shows `figure`, in `unit`; cases with the same `beside` run in turns, and the first of
    them is what the others are compared with. With `segment` a message is datagrams of so many bytes.
    """

    name: str
    title: str
    path: str
    bytes: int
    connections: int = 64
    listener: str = "http"
    new_connection: bool = False
    requests: int = 0
    rate: int = 0
    table: int = 0
    swaps: int = 0
    figure: str = "cpu_us"
    beside: str = ""
    segment: int = 0

    @property
    def datagrams(self) -> bool:
        return self.listener in ("datagrams", "questions")


ROUTES = 1000
# Well below what one core carries, so that what shows is the gateway's doing and not a queue's.
RATE = 4000
SWAPS = 100
# As many as the control plane can read anew so often: the text of a thousand takes it some ten milliseconds.
ROUTES_SWAPPED = 100

CASES = {case.name: case for case in (
    Case("http-128", "HTTP/1.1 keep-alive, 128 B, µs CPU per request", "/128", 128),
    Case("http-64k", "HTTP/1.1 keep-alive, 64 KiB, µs CPU per request", "/64k", 64 << 10),
    Case("http-1m", "HTTP/1.1 keep-alive, 1 MiB, µs CPU per request", "/1m", 1 << 20, connections=16),
    Case("http-new", "HTTP/1.1 new connection per request, µs CPU", "/128", 128, new_connection=True),
    Case("tcp-128", "TCP relay, 128 B exchanges, µs CPU per exchange", "/128", 128, listener="tcp"),
    Case("tcp-new", "TCP relay, connect, 128 B exchange, close, µs CPU", "/128", 128, listener="tcp", new_connection=True),
    Case("tcp-bulk", "TCP relay, bulk in 4 flows, µs CPU per 16 MiB", "/16m", 16 << 20, connections=4, listener="tcp",
         requests=200),
    Case("udp-128", "UDP relay, 128 B exchanges, µs CPU per exchange", "", 128, listener="datagrams"),
    Case("udp-new", "UDP relay, a new flow per 128 B exchange (DNS), µs CPU", "", 128, listener="questions", new_connection=True),
    Case("udp-bulk", "UDP relay, 48 datagrams of 1,200 B in 4 flows (QUIC), µs CPU per 57,600 B", "", 57_600, connections=4,
         listener="datagrams", segment=1_200),
    Case("route-one", "1 route × 1 endpoint, µs CPU per request", "/service-{}/items", 128, table=1, beside="routes"),
    Case("routes", f"{ROUTES} routes × {ROUTES} endpoints, µs CPU per request", "/service-{}/items", 128, table=ROUTES,
         beside="routes"),
    Case("steady", f"p99.9 at {RATE}/s, {ROUTES_SWAPPED} × {ROUTES_SWAPPED}, µs", "/service-{}/items", 128,
         table=ROUTES_SWAPPED, rate=RATE,
         figure="p999_us", beside="swaps"),
    Case("swaps", f"p99.9 at {RATE}/s, {ROUTES_SWAPPED} × {ROUTES_SWAPPED}, {SWAPS} table swaps a second, µs", "/service-{}/items",
         128, table=ROUTES_SWAPPED, rate=RATE, swaps=SWAPS, figure="p999_us", beside="swaps"),
)}


def groups(names: list) -> list:
    """`names` in lists that are run in turns."""
    found = {}
    for name in names:
        beside = CASES[name].beside if name in CASES else ""
        found.setdefault(beside or name, []).append(name)
    return list(found.values())
