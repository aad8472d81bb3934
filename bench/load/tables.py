"""Many routes, each to an upstream of its own with an endpoint of its own, as each gateway's expert would write them.

Every endpoint is another loopback address of the one origin, so a route that leads to the wrong upstream is seen: the
origin says in X-Endpoint on which address it was asked.
"""

import http.client


def endpoint(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


def ringgate(count: int, port: str, weight: int = 1) -> dict:
    """The weight changes nothing but the table."""
    routes = "".join(f'[[route]]\nlistener = "web"\npath = "/service-{n}/"\nupstream = "service-{n}"\n' for n in range(count))
    upstreams = "".join(
        f'[upstream.service-{n}]\nendpoints = [{{ address = "{endpoint(n)}:{port}", weight = {weight} }}]\n' for n in range(count))
    return {"ROUTES": routes, "UPSTREAMS": upstreams}


def haproxy(count: int, port: str, directory) -> dict:
    """A map from path to backend: its prefixes are found in a tree, whatever their number."""
    names = directory / "haproxy-routes.map"
    names.write_text("".join(f"/service-{n}/ service-{n}\n" for n in range(count)))
    routes = f"    use_backend %[path,map_beg({names})] if {{ path,map_beg({names}) -m found }}\n" if count else ""
    upstreams = "".join(
        f"backend service-{n}\n    mode http\n    http-reuse always\n"
        f"    server one {endpoint(n)}:{port} pool-max-conn -1 pool-purge-delay 3600s\n" for n in range(count))
    return {"ROUTES": routes, "UPSTREAMS": upstreams}


def nginx(count: int, port: str) -> dict:
    """Prefix locations, which nginx finds in a static tree."""
    routes = "".join(f"        location /service-{n}/ {{ proxy_pass http://service-{n}; }}\n" for n in range(count))
    upstreams = "".join(
        f"    upstream service-{n} {{ server {endpoint(n)}:{port}; keepalive 64; keepalive_requests 1000000000; "
        f"keepalive_timeout 3600s; }}\n" for n in range(count))
    return {"ROUTES": routes, "UPSTREAMS": upstreams}


def render(kind: str, count: int, port: str, directory) -> dict:
    """What the template of a gateway of that kind is filled with."""
    if kind.startswith("haproxy"):
        return haproxy(count, port, directory)
    return (nginx if kind.startswith("nginx") else ringgate)(count, port)


def verify(address: str, count: int):
    """Asks along every route once: each must lead to its own endpoint."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    for number in range(count):
        connection.request("GET", f"/service-{number}/items")
        answer = connection.getresponse()
        answer.read()
        if (answer.status, answer.getheader("X-Endpoint")) != (200, endpoint(number)):
            raise SystemExit(f"route {number} led to {answer.getheader('X-Endpoint')} with {answer.status}")
    connection.close()
