//! Every key of the configuration file, once: its kind, limits, default and help. The reader of the file, the check for
//! unknown keys, `conf/ringgate.toml` and the JSON Schema for editors are all derived from these tables.
//!
//! A list, not logic: what a kind accepts is in `values`, what keys mean together in `check`.

mod balance;
mod health;

use crate::upstream::CLIENT_CONNECTIONS_MAX;
use std::time::Duration;

/// One table of the file.
#[derive(Debug)]
pub struct Table {
    /// As it is written in the file: `[[listener]]`. Empty for the keys above all tables.
    pub title: &'static str,
    /// What it is for, in full sentences.
    pub help: &'static str,
    pub keys: &'static [Key],
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub presence: Presence,
    /// What it does and its unit, in full sentences without a final line break.
    pub help: &'static str,
    /// The listener protocols, or kinds of probe, that it makes sense for; none: all.
    pub protocols: &'static [&'static str],
}

/// Whether a key must be there, and what holds when it is not.
#[derive(Clone, Copy, Debug)]
pub enum Presence {
    /// Must be there; the example is what `conf/ringgate.toml` shows.
    Required { example: &'static str },
    /// The TOML text of the value that holds when the key is absent.
    Default(&'static str),
    /// May be absent; `without` says what then holds.
    Optional { example: &'static str, without: &'static str },
}

/// What values a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Boolean,
    Integer {
        min: u64,
        max: u64,
    },
    Duration {
        min: Duration,
        max: Duration,
    },
    /// A duration, or the word "off".
    DurationOrOff {
        min: Duration,
        max: Duration,
    },
    /// Bytes. With `unlimited`, the word "unlimited" is allowed too.
    Size {
        min: u64,
        max: u64,
        unlimited: bool,
    },
    /// Bytes a second, or "off".
    Rate {
        max: u64,
    },
    /// A percentage; the limits are in thousandths.
    Percent {
        min: u32,
        max: u32,
    },
    /// The same, or the word "off".
    PercentOrOff {
        min: u32,
        max: u32,
    },
    /// One of a fixed set of words.
    Choice(&'static [&'static str]),
    /// A name that other tables refer to.
    Name,
    /// `host:port`, the host an IP address; or a Unix socket, `unix:/path` or `unix:@name`.
    Address,
    /// `host:port`, the host an IP address, or the word "off".
    AddressOrOff,
    /// Any text but the empty one.
    Text,
    /// Where a secret is: `env:NAME` or `file:PATH`.
    Secret,
    /// A path of the file system, relative to the file.
    FilePath,
    /// Permissions of a file, in octal.
    FileMode,
    /// One string or a list of strings, of this form.
    Words(Word),
    /// A path of a URL.
    UrlPath,
    /// A token of HTTP, such as the name of a cookie.
    Token,
    /// A table of names and values.
    Labels,
    /// The name of an upstream, or a table of names and weights.
    Upstream,
    /// A list of `"host:port"` strings and tables such as `{ address, weight }`.
    Endpoints,
    /// A list of tables with keys of their own.
    Tables(&'static Table),
    /// A table of tables by name, each with keys of its own.
    NamedTables(&'static Table),
    /// One table with keys of its own.
    OneTable(&'static Table),
}

/// The form of each string of [`Kind::Words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    ListenerName,
    Host,
    Method,
    Network,
    Ip,
    /// Any text.
    Text,
    /// A status of HTTP, or a range of them.
    Status,
    /// `Name: value`.
    Header,
    /// What of a request is its key.
    HashKey,
    /// One of a fixed set.
    Of(&'static [&'static str]),
}

/// What a PROXY header of version 2 may say beside the addresses.
pub const PROXY_TLVS: [&str; 4] = ["sni", "alpn", "unique_id", "crc32c"];

/// Bytes of one configuration file.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files of an `include` directory.
pub const FRAGMENTS_MAX: usize = 1_024;
pub const LISTENERS_MAX: usize = 1_024;
pub const ROUTES_MAX: usize = 65_536;
pub const UPSTREAMS_MAX: usize = 65_536;
/// Endpoints of one upstream, after host names are resolved.
pub const ENDPOINTS_MAX: usize = 16_384;
/// Different sets of labels that routes may ask one upstream for: each is planned for by itself.
pub const SUBSETS_MAX: usize = 64;
/// Labels of one endpoint or route.
pub const LABELS_MAX: usize = 32;
pub const ENDPOINT_WEIGHT_MAX: u64 = 65_535;
/// Of an endpoint. Each priority may be a group of its own that is looked at with each pick.
pub const PRIORITY_MAX: u64 = 15;
/// Upstreams of one weighted split.
pub const SPLIT_PARTS_MAX: usize = 64;
/// Hosts, methods, networks or listeners in one list.
pub const WORDS_MAX: usize = 1_024;
/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 128;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

const fn key(name: &'static str, kind: Kind, presence: Presence, help: &'static str) -> Key {
    Key { name, kind, presence, help, protocols: &[] }
}

const fn http(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key { name, kind, presence: Presence::Default(default), help, protocols: &["http"] }
}

const fn of_streams(name: &'static str, kind: Kind, presence: Presence, help: &'static str) -> Key {
    Key { name, kind, presence, help, protocols: &["http", "tcp"] }
}

const fn streams(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key { name, kind, presence: Presence::Default(default), help, protocols: &["http", "tcp"] }
}

const fn udp(name: &'static str, kind: Kind, presence: Presence, help: &'static str) -> Key {
    Key { name, kind, presence, help, protocols: &["udp"] }
}

const fn time(max: Duration) -> Kind {
    Kind::Duration { min: MILLISECOND, max }
}

const fn time_or_off(max: Duration) -> Kind {
    Kind::DurationOrOff { min: MILLISECOND, max }
}

const SECONDS: Kind = Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(32_767) };
const NO_KEEPALIVE: Presence = Presence::Optional { example: "\"60s\"", without: "it never asks" };
const NO_USER_TIMEOUT: Presence =
    Presence::Optional { example: "\"30s\"", without: "as long as the kernel sends again, about 15 minutes" };

const REQUESTS: Kind = Kind::Integer { min: 1, max: 4_000_000_000 };

/// Bytes of a body that are held in memory.
const BUFFER: Kind = Kind::Size { min: KIB, max: 1 << 30, unlimited: false };

const RATE: Kind = Kind::Rate { max: 1 << 40 };

/// The keys above all tables, and the tables themselves.
pub static TOP: Table = Table {
    title: "",
    help: "",
    keys: &[
        key(
            "workers",
            Kind::Integer { min: 1, max: 1_024 },
            Presence::Optional { example: "4", without: "one for each core that the process may run on" },
            "Data-plane threads, each pinned to a core of its own where there are enough.",
        ),
        key(
            "engine",
            Kind::Choice(&["auto", "uring", "epoll"]),
            Presence::Default("\"auto\""),
            "How workers talk to the kernel. \"auto\" takes io_uring where the kernel allows it, else epoll, and says which.",
        ),
        key(
            "drain_timeout",
            time(HOUR),
            Presence::Default("\"30s\""),
            "How long open connections may take to end at shutdown, and those of a listener that a reload removed; what is left then is cut off.",
        ),
        key(
            "drain_idle_timeout",
            time(HOUR),
            Presence::Default("\"1s\""),
            "How long a keep-alive connection without a request may still bring one while its listener drains; the response says that it is the last. At most `drain_timeout`.",
        ),
        key(
            "zone",
            Kind::Name,
            Presence::Optional { example: "\"eu-1a\"", without: "all zones are equal" },
            "Where the gateway is. Endpoints with the same `zone` are preferred for as long as they can take the traffic.",
        ),
        key(
            "memory_max",
            Kind::Size { min: 64 * MIB, max: 1 << 50, unlimited: false },
            Presence::Optional {
                example: "\"2GiB\"",
                without: "half of the memory that the machine or its control group has",
            },
            "What the process may hold, all of it together. Short of it, it gives up what it can spare and refuses what is new. `ringgate check` shows what it consists of.",
        ),
        key(
            "worker_lag_max",
            time(HOUR),
            Presence::Default("\"500ms\""),
            "New connections are refused by a worker in which everything has waited this long for its turn for half a second.",
        ),
        key(
            "watch",
            Kind::Boolean,
            Presence::Default("false"),
            "Reload by itself when this file, or a file of `include`, changes on disk.",
        ),
        key(
            "include",
            Kind::FilePath,
            Presence::Optional { example: "\"conf.d\"", without: "this file alone" },
            "A directory whose *.toml files may add tables. They never override: what two files say is an error.",
        ),
        key("admin", Kind::OneTable(&ADMIN), OPTIONAL_TABLE, ADMIN.help),
        key("access_log", Kind::OneTable(&ACCESS_LOG), OPTIONAL_TABLE, ACCESS_LOG.help),
        key("listener", Kind::Tables(&LISTENER), OPTIONAL_TABLE, LISTENER.help),
        key("route", Kind::Tables(&ROUTE), OPTIONAL_TABLE, ROUTE.help),
        key("upstream", Kind::NamedTables(&UPSTREAM), OPTIONAL_TABLE, UPSTREAM.help),
    ],
};

/// All tables.
pub static TABLES: [&Table; 8] = [&TOP, &ADMIN, &ACCESS_LOG, &LISTENER, &ROUTE, &UPSTREAM, &PROBE, &ENDPOINT];

const OPTIONAL_TABLE: Presence = Presence::Optional { example: "", without: "" };

pub static ADMIN: Table = Table {
    title: "[admin]",
    help: "Metrics, health, the snapshot in force and reload, over HTTP. It asks nobody for a password: keep it on an address that only operators reach.",
    keys: &[key(
        "address",
        Kind::AddressOrOff,
        Presence::Default("\"127.0.0.1:9900\""),
        "Where it listens; \"off\" is nowhere, and then `ringgate reload` needs --pid.",
    )],
};

pub static ACCESS_LOG: Table = Table {
    title: "[access_log]",
    help: "One line of JSON for each request, TCP connection or UDP flow. Without this table there is no access log.",
    keys: &[key(
        "path",
        Kind::FilePath,
        Presence::Default("\"-\""),
        "A file, relative to this one, reopened on SIGUSR1; \"-\" is standard output.",
    )],
};

pub static LISTENER: Table = Table {
    title: "[[listener]]",
    help: "An address where clients connect.",
    keys: &[
        key(
            "name",
            Kind::Name,
            Presence::Optional { example: "\"web\"", without: "the address as written" },
            "What routes, logs and metrics call it.",
        ),
        key(
            "address",
            Kind::Address,
            Presence::Required { example: "\"0.0.0.0:8080\"" },
            "Where it listens: IP:port, [IPv6]:port, unix:/path or unix:@name. Port 0 takes a free port.",
        ),
        key(
            "socket_mode",
            Kind::FileMode,
            Presence::Optional { example: "\"660\"", without: "`\"660\"`, the owner and the group" },
            "Permissions of the file of a Unix socket, in octal: who may write to it may connect.",
        ),
        key(
            "protocol",
            Kind::Choice(&["http", "tcp", "udp"]),
            Presence::Default("\"http\""),
            "What it speaks: \"http\" sends each request by the routes, \"tcp\" relays each connection and \"udp\" each flow of datagrams to `upstream`; \"tcp\" also by its routes with `sni`.",
        ),
        key(
            "upstream",
            Kind::Upstream,
            Presence::Optional { example: "\"api\"", without: "http: what no route matches is answered with 404" },
            "tcp and udp: where connections or flows go, required unless a tcp listener has routes with `sni`. http: where requests go that no route matches. A name, or weights: { stable = 95, canary = 5 }.",
        ),
        streams(
            "connections_max",
            Kind::Integer { min: 1, max: 16_777_216 },
            "65_536",
            "Open client connections, all workers together.",
        ),
        streams(
            "proxy_protocol",
            Kind::Words(Word::Network),
            "[]",
            "Networks of proxies whose connections must begin with a PROXY header, version 1 or 2; \"unix:\" is whoever connects over a Unix socket. The client is then who the header says it is. Connections from elsewhere are taken as they are.",
        ),
        Key {
            name: "tcp_keepalive",
            kind: SECONDS,
            presence: NO_KEEPALIVE,
            help: "After so much silence of a client the kernel asks whether it is still there; three questions without an answer, a third of this apart, end the connection. Whole seconds.",
            protocols: &["http", "tcp"],
        },
        Key {
            name: "tcp_user_timeout",
            kind: time(HOUR),
            presence: NO_USER_TIMEOUT,
            help: "How long bytes that were sent to a client may stay unacknowledged before the connection ends.",
            protocols: &["http", "tcp"],
        },
        streams(
            "tcp_fastopen",
            Kind::Integer { min: 0, max: 65_535 },
            "0",
            "TCP Fast Open: connections that may wait with their first bytes before the handshake is done; 0 is off. A first request may then arrive twice (RFC 7413). Needs net.ipv4.tcp_fastopen = 2 or 3.",
        ),
        streams(
            "transparent",
            Kind::Boolean,
            "false",
            "Accept connections to addresses that are not of this machine, which routing rules bring here. Needs CAP_NET_ADMIN.",
        ),
        streams("proxy_protocol_timeout", time(HOUR), "\"5s\"", "From the accept to the last byte of a PROXY header."),
        of_streams(
            "connections_max_per_client",
            Kind::Integer { min: 1, max: CLIENT_CONNECTIONS_MAX as u64 },
            Presence::Optional { example: "100", without: "one client may have all of them" },
            "The same from one client, which is an IPv4 address or the /64 network of an IPv6 address.",
        ),
        of_streams(
            "clients_exempt",
            Kind::Words(Word::Network),
            Presence::Default("[]"),
            "Networks that `connections_max_per_client` does not hold for, such as those of load balancers in front.",
        ),
        of_streams(
            "accepts_per_second",
            Kind::Integer { min: 1, max: 1_000_000 },
            Presence::Optional { example: "2_000", without: "as many as come" },
            "Connections that are accepted in a second, all workers together; those beyond are refused.",
        ),
        of_streams(
            "accepts_burst",
            Kind::Integer { min: 1, max: 1_000_000 },
            Presence::Optional { example: "500", without: "as many as `accepts_per_second`" },
            "Of those, how many may come at once.",
        ),
        http(
            "trusted",
            Kind::Words(Word::Network),
            "[]",
            "Networks whose X-Forwarded-* and Forwarded headers are believed and extended; \"unix:\" is every client of a Unix socket. Those of all others are replaced.",
        ),
        http(
            "head_max",
            Kind::Size { min: KIB, max: MIB, unlimited: false },
            "\"16KiB\"",
            "Bytes of a request head: the request line and all fields.",
        ),
        http("headers_max", Kind::Integer { min: 1, max: 256 }, "100", "Fields of a request head."),
        http(
            "path_normalize",
            Kind::Choice(&["merge", "resolve", "strict", "off"]),
            "\"merge\"",
            "The one form of a request's path that routes match and endpoints get. \"resolve\" resolves dot segments and writes percent-encoding in one way; \"merge\" also makes several slashes one; \"strict\" refuses dot segments, empty segments and encoded slashes with 400; \"off\" changes nothing. docs/routing.md has examples.",
        ),
        http(
            "target_max",
            Kind::Size { min: 64, max: MIB, unlimited: false },
            "\"8KiB\"",
            "Bytes of a request target; at most `head_max`.",
        ),
        http(
            "body_max",
            Kind::Size { min: 0, max: u64::MAX - 1, unlimited: true },
            "\"1GiB\"",
            "Bytes of a request body, or \"unlimited\". Bodies are streamed, and collected only as far as the route's `request_buffer` says.",
        ),
        http(
            "request_head_timeout",
            time(HOUR),
            "\"10s\"",
            "From the first byte of a request head, or the accept, to the head's last byte.",
        ),
        http("request_body_idle_timeout", time(HOUR), "\"30s\"", "Silence of the client within a request body."),
        http(
            "request_body_rate_min",
            RATE,
            "\"240B/s\"",
            "What a client must send of a request body, beyond `rate_grace`; slower ones get 408. Time in which the gateway does not read, because the endpoint is slow, does not count.",
        ),
        http(
            "keep_alive_timeout",
            time(MONTH),
            "\"75s\"",
            "From the end of a response to the first byte of the next request.",
        ),
        Key {
            name: "keep_alive_requests_max",
            kind: REQUESTS,
            presence: Presence::Optional { example: "10_000", without: "no limit" },
            help: "Requests of one connection; the last response says that it is the last.",
            protocols: &["http"],
        },
        http(
            "keep_alive_age_max",
            time_or_off(MONTH),
            "\"1h\"",
            "After so long, a connection ends with its next response, so that clients spread anew over gateways and workers. Up to a tenth less, by chance, so that not all come back at once.",
        ),
        http("send_timeout", time(HOUR), "\"30s\"", "How long a client may take none of what it is sent."),
        http(
            "response_rate_min",
            RATE,
            "\"240B/s\"",
            "What a client must take of a response, beyond `rate_grace`, judged by what it has acknowledged; slower ones are cut off. Time in which there is nothing to send does not count.",
        ),
        http(
            "rate_grace",
            time(HOUR),
            "\"5s\"",
            "How long a client may be slower than `request_body_rate_min` or `response_rate_min` at the beginning of a body, all pauses together.",
        ),
        http(
            "abort_on_close",
            Kind::Boolean,
            "true",
            "End a request whose client ends its connection before the endpoint has answered. false: a client may end its sending side and wait for the response, as few do (`nc -N`); then only a reset ends the request.",
        ),
        http(
            "tunnel_idle_timeout",
            time(MONTH),
            "\"1h\"",
            "Silence in both directions of an upgraded connection such as a WebSocket.",
        ),
        http(
            "request_id",
            Kind::Boolean,
            "true",
            "Give each request an X-Request-Id, to the endpoint, to the client and in the access log.",
        ),
        Key {
            name: "idle_timeout",
            kind: time(MONTH),
            presence: Presence::Optional { example: "\"30s\"", without: "\"1h\" for tcp, \"30s\" for udp" },
            help: "Silence in both directions after which a relayed connection or flow ends.",
            protocols: &["tcp", "udp"],
        },
        Key {
            name: "client_hello_timeout",
            kind: time(HOUR),
            presence: Presence::Default("\"10s\""),
            help: "From the accept, or the end of a PROXY header, to the last byte of a TLS ClientHello. With routes by `sni`.",
            protocols: &["tcp"],
        },
        udp(
            "flows_max",
            Kind::Integer { min: 1, max: 16_777_216 },
            Presence::Default("65_536"),
            "Open flows, all workers together. A flow is what one client address and port exchanges with one endpoint. When there are so many, datagrams of new ones are dropped.",
        ),
        udp(
            "flows_per_client_max",
            Kind::Integer { min: 1, max: 16_777_216 },
            Presence::Default("4_096"),
            "Open flows of one client address (of one /64 for IPv6). Each worker lets it have its share.",
        ),
        udp(
            "replies",
            Kind::Integer { min: 1, max: 65_535 },
            Presence::Optional { example: "1", without: "flows end by silence alone" },
            "Datagrams from the endpoint for each one from the client: 1 for DNS. When all have come the flow ends.",
        ),
        udp(
            "unreachable_timeout",
            time(HOUR),
            Presence::Default("\"10s\""),
            "How long an endpoint gets no new flows after ICMP has said that nothing listens there, unless it answers before. With no other endpoint it gets them all the same.",
        ),
    ],
};

pub static ROUTE: Table = Table {
    title: "[[route]]",
    help: "What matches a request, or a TLS connection by its server name, and where it goes. The most specific route wins: exact host, then the longest wildcard, then any host; exact path, then the longest prefix; with a method, then without. Order never matters, and a tie is an error.",
    keys: &[
        key(
            "name",
            Kind::Name,
            Presence::Optional { example: "\"api\"", without: "what it matches" },
            "What logs and metrics call it.",
        ),
        key(
            "listener",
            Kind::Words(Word::ListenerName),
            Presence::Optional { example: "\"web\"", without: "every http listener; with `sni` it is required" },
            "The listener that it belongs to, or a list of them.",
        ),
        key(
            "host",
            Kind::Words(Word::Host),
            Presence::Optional { example: "[\"api.example.com\", \"*.api.example.com\"]", without: "any host" },
            "\"api.example.com\", or \"*.example.com\" for every name below it; one or a list.",
        ),
        key(
            "sni",
            Kind::Words(Word::Host),
            Presence::Optional { example: "\"*.example.com\"", without: "it is a route of requests" },
            "For tcp listeners, and instead of all that matches requests: the server name that a TLS client asks for, as `host` is written. TLS is not ended, and the bytes go on unchanged.",
        ),
        key(
            "path",
            Kind::UrlPath,
            Presence::Optional { example: "\"/v1/\"", without: "any path" },
            "A prefix by whole segments: \"/v1\" and \"/v1/\" both match /v1, /v1/ and /v1/users, never /v10.",
        ),
        key(
            "path_exact",
            Kind::UrlPath,
            Presence::Optional { example: "\"/health\"", without: "see `path`" },
            "The whole path, byte for byte. Instead of `path`.",
        ),
        key(
            "method",
            Kind::Words(Word::Method),
            Presence::Optional { example: "[\"GET\", \"HEAD\"]", without: "any method" },
            "One method or a list; methods are case-sensitive, and GET does not include HEAD.",
        ),
        key(
            "upstream",
            Kind::Upstream,
            Presence::Required { example: "\"api\"" },
            "Where its requests go: a name, or weights: { stable = 95, canary = 5 }.",
        ),
        key(
            "labels",
            Kind::Labels,
            Presence::Optional { example: "{ version = \"v2\" }", without: "all endpoints" },
            "Only endpoints that have all of these labels.",
        ),
        key(
            "timeout",
            time(HOUR),
            Presence::Default("\"60s\""),
            "From the request head received, or the body that `request_buffer` waits for, to the response head received; all attempts together.",
        ),
        key(
            "response_body_idle_timeout",
            time(HOUR),
            Presence::Default("\"60s\""),
            "Silence of the endpoint within a response body.",
        ),
        key(
            "request_buffer",
            BUFFER,
            Presence::Optional { example: "\"64KiB\"", without: "bodies are streamed as they come" },
            "Bytes of a request body that are taken from the client before an endpoint is picked, so that a slow sender holds none. What is longer is streamed from there on. A body that fits can be sent again, to another endpoint, by the rules of `retries`. `timeout` begins when this is done.",
        ),
        key(
            "response_buffer",
            BUFFER,
            Presence::Optional { example: "\"1MiB\"", without: "the endpoint waits for its client" },
            "Bytes of a response body that are taken from the endpoint ahead of its client, so that a slow reader holds no endpoint.",
        ),
    ],
};

pub static UPSTREAM: Table = Table {
    title: OF_UPSTREAM.title,
    help: OF_UPSTREAM.help,
    keys: &joined::<{ OF_UPSTREAM.keys.len() + balance::KEYS.len() + health::KEYS.len() }>(&[
        OF_UPSTREAM.keys,
        &balance::KEYS,
        &health::KEYS,
    ]),
};

/// Lists of keys as one.
const fn joined<const LEN: usize>(lists: &[&[Key]]) -> [Key; LEN] {
    let mut all = [lists[0][0]; LEN];
    let (mut list, mut to) = (0, 0);
    while list < lists.len() {
        let mut at = 0;
        while at < lists[list].len() {
            all[to] = lists[list][at];
            (at, to) = (at + 1, to + 1);
        }
        list += 1;
    }
    all
}

/// The keys of an upstream that have no file of their own.
const OF_UPSTREAM: Table = Table {
    title: "[upstream.NAME]",
    help: "A named group of endpoints. Its NAME is what routes, logs and metrics call it.",
    keys: &[
        key(
            "endpoints",
            Kind::Endpoints,
            Presence::Required { example: "[\"10.0.0.1:9000\", { address = \"10.0.0.2:9000\", weight = 2 }]" },
            "Addresses \"host:port\" or \"unix:/path\", or tables such as { address, weight }. A host name is resolved once, when the file is read, to all its addresses.",
        ),
        key("connect_timeout", time(HOUR), Presence::Default("\"4s\""), "For one attempt to connect to an endpoint."),
        key(
            "retries",
            Kind::Integer { min: 0, max: 16 },
            Presence::Default("2"),
            "Further attempts after a failed one, each on an endpoint not tried yet, and only where sending again is safe.",
        ),
        key(
            "idle_connections_max",
            Kind::Integer { min: 0, max: 65_536 },
            Presence::Default("64"),
            "Idle connections that each worker keeps to each endpoint, to be used again.",
        ),
        key(
            "idle_timeout",
            time(MONTH),
            Presence::Default("\"30s\""),
            "How long an idle connection is kept. Best shorter than what the endpoint itself keeps.",
        ),
        key(
            "connection_requests_max",
            REQUESTS,
            Presence::Optional { example: "10_000", without: "no limit" },
            "Requests that one connection to an endpoint carries; the last one says `Connection: close`.",
        ),
        key(
            "connection_age_max",
            time_or_off(MONTH),
            Presence::Default("\"1h\""),
            "After so long, or up to a tenth less, a connection to an endpoint carries one more request at most, so that what stands behind the address may change.",
        ),
        key(
            "drain_timeout",
            time_or_off(MONTH),
            Presence::Default("\"10m\""),
            "How long tcp connections and tunnels to an endpoint may go on after a reload has removed it, or given it weight 0; \"off\" is to their end. Requests end by themselves.",
        ),
        key(
            "source_address",
            Kind::Words(Word::Ip),
            Presence::Optional { example: "\"10.0.0.1\"", without: "the kernel chooses" },
            "The IP address of this machine that connections to endpoints come from; of each IP version one.",
        ),
        key(
            "transparent",
            Kind::Boolean,
            Presence::Default("false"),
            "Connect from the client's own address. Such a connection carries this client's requests alone; replies must be routed back here. Needs CAP_NET_ADMIN.",
        ),
        key(
            "tcp_keepalive",
            SECONDS,
            NO_KEEPALIVE,
            "After so much silence of an endpoint the kernel asks whether it is still there; three questions without an answer, a third of this apart, end the connection. Whole seconds.",
        ),
        key(
            "tcp_user_timeout",
            time(HOUR),
            NO_USER_TIMEOUT,
            "How long bytes that were sent to an endpoint may stay unacknowledged before the connection ends.",
        ),
        key(
            "tcp_fastopen",
            Kind::Boolean,
            Presence::Default("false"),
            "TCP Fast Open for requests of idempotent methods, which may arrive twice (RFC 7413). tcp listeners connect without it.",
        ),
        key(
            "proxy_protocol",
            Kind::Choice(&["off", "v1", "v2"]),
            Presence::Default("\"off\""),
            "Begin each connection to an endpoint with a PROXY header of this version, which says who the client is. Such a connection carries this client's requests alone.",
        ),
        key(
            "proxy_protocol_tlvs",
            Kind::Words(Word::Of(&PROXY_TLVS)),
            Presence::Default("[]"),
            "What a header of version 2 says beside the addresses, where it is known: the server name and the protocol that the client asked for, an id of the connection, a checksum.",
        ),
        key("probe", Kind::OneTable(&PROBE), OPTIONAL_TABLE, PROBE.help),
    ],
};

/// The kinds of probe, in the order of the key's choices.
pub const PROBE_KINDS: [&str; 7] = ["tcp", "http", "exec", "redis", "mysql", "postgres", "udp"];

const fn of_probes(
    kinds: &'static [&'static str],
    name: &'static str,
    kind: Kind,
    presence: Presence,
    help: &'static str,
) -> Key {
    Key { name, kind, presence, help, protocols: kinds }
}

pub static PROBE: Table = Table {
    title: "[upstream.NAME.probe]",
    help: "How each endpoint of the upstream is asked, again and again, whether it is up. Without this table none is. docs/probes.md explains the kinds.",
    keys: &[
        key(
            "kind",
            Kind::Choice(&PROBE_KINDS),
            Presence::Required { example: "\"http\"" },
            "What is asked, whatever the upstream itself speaks: a connection (\"tcp\"), a request (\"http\"), a command (\"exec\"), a datagram (\"udp\"), or a database in its own protocol.",
        ),
        key(
            "interval",
            Kind::Duration { min: Duration::from_millis(100), max: HOUR },
            Presence::Default("\"5s\""),
            "From one probe of an endpoint to the next.",
        ),
        key(
            "interval_fast",
            Kind::Duration { min: Duration::from_millis(100), max: HOUR },
            Presence::Optional { example: "\"1s\"", without: "`\"1s\"`, or `interval` where that is shorter" },
            "The same while the last results speak against what the endpoint is taken for.",
        ),
        key(
            "jitter",
            Kind::Percent { min: 0, max: 1_000 },
            Presence::Default("\"10%\""),
            "How much of an interval it may be shorter or longer by, at random, so that probes do not march in step.",
        ),
        key(
            "timeout",
            time(HOUR),
            Presence::Optional { example: "\"2s\"", without: "`\"2s\"`, or `interval` where that is shorter" },
            "From the start of a probe to the end of its answer.",
        ),
        key(
            "rise",
            Kind::Integer { min: 1, max: 100 },
            Presence::Default("2"),
            "Passes in a row that bring an endpoint up.",
        ),
        key(
            "fall",
            Kind::Integer { min: 1, max: 100 },
            Presence::Default("3"),
            "Failures in a row that take an endpoint down.",
        ),
        key(
            "initial",
            Kind::Choice(&["up", "probe"]),
            Presence::Default("\"up\""),
            "What a new endpoint is before its first result: \"up\", or with \"probe\" down until it has passed one.",
        ),
        key(
            "port",
            Kind::Integer { min: 1, max: 65_535 },
            Presence::Optional { example: "8081", without: "the endpoint's own" },
            "Another port of the endpoint's host to ask.",
        ),
        key(
            "address",
            Kind::Address,
            Presence::Optional { example: "\"10.0.0.9:8081\"", without: "the endpoint's own" },
            "One address to ask about every endpoint.",
        ),
        of_probes(
            &["tcp", "udp"],
            "send",
            Kind::Text,
            Presence::Optional { example: "\"PING\\r\\n\"", without: "nothing; \"udp\" needs it" },
            "What is sent; \"hex:...\" for bytes.",
        ),
        of_probes(
            &["tcp", "udp", "http"],
            "expect",
            Kind::Text,
            Presence::Optional { example: "\"ok\"", without: "any answer; of \"tcp\" none at all" },
            "What the answer, or the body of the response, must contain; \"hex:...\" for bytes. At most the first 32 KiB are looked at.",
        ),
        of_probes(&["http"], "method", Kind::Name, Presence::Default("\"GET\""), "The method of the request."),
        of_probes(
            &["http"],
            "path",
            Kind::UrlPath,
            Presence::Default("\"/\""),
            "The path of the request, with its query if it has one.",
        ),
        of_probes(
            &["http"],
            "host",
            Kind::Text,
            Presence::Optional { example: "\"api.example.com\"", without: "the address that is asked" },
            "The Host of the request.",
        ),
        of_probes(
            &["http"],
            "headers",
            Kind::Words(Word::Header),
            Presence::Default("[]"),
            "Further fields of the request, each as \"Name: value\".",
        ),
        of_probes(
            &["http"],
            "status",
            Kind::Words(Word::Status),
            Presence::Default("\"200-399\""),
            "The statuses that pass: one such as \"204\", a range, or a list of them.",
        ),
        of_probes(
            &["exec"],
            "command",
            Kind::Words(Word::Text),
            Presence::Optional { example: "[\"/usr/local/bin/check-app\", \"--quick\"]", without: "\"exec\" needs it" },
            "A program, its path relative to this file, and its arguments. It passes by ending with 0; where to ask is in its environment.",
        ),
        of_probes(
            &["redis", "mysql", "postgres"],
            "user",
            Kind::Text,
            Presence::Optional { example: "\"probe\"", without: "redis: the default user; others: no login is begun" },
            "Who logs in. With \"mysql\" it must be a user without a password, with \"postgres\" any: the session is not carried on.",
        ),
        of_probes(
            &["redis"],
            "password",
            Kind::Secret,
            Presence::Optional { example: "\"env:REDIS_PASSWORD\"", without: "no AUTH is sent" },
            "Where its password is: \"env:NAME\" or \"file:PATH\". Read when the file is.",
        ),
        of_probes(
            &["postgres"],
            "database",
            Kind::Text,
            Presence::Optional { example: "\"app\"", without: "the one named as the user" },
            "Which database the session is for.",
        ),
    ],
};

/// The keys of an endpoint that is written as a table.
pub static ENDPOINT: Table = Table {
    title: "endpoints = [{ ... }]",
    help: "One address of an upstream.",
    keys: &[
        key(
            "address",
            Kind::Address,
            Presence::Required { example: "\"10.0.0.2:9000\"" },
            "\"host:port\", \"[v6]:port\", \"unix:/path\" or \"unix:@name\".",
        ),
        key(
            "weight",
            Kind::Integer { min: 0, max: ENDPOINT_WEIGHT_MAX },
            Presence::Default("1"),
            "Its share of the traffic, against the weights of the others; 0 takes no new requests.",
        ),
        key(
            "priority",
            Kind::Integer { min: 0, max: PRIORITY_MAX },
            Presence::Default("0"),
            "Endpoints of the lowest number take all traffic for as long as they can; the next ones take what those cannot.",
        ),
        key("backup", Kind::Boolean, Presence::Default("false"), "Asked only when none that is no backup is left."),
        key(
            "zone",
            Kind::Name,
            Presence::Optional { example: "\"eu-1a\"", without: "it is in no zone" },
            "Where it is, to be compared with the gateway's own `zone`.",
        ),
        key(
            "labels",
            Kind::Labels,
            Presence::Optional { example: "{ version = \"v2\" }", without: "it has none" },
            "Names and values that the `labels` of a route may ask for.",
        ),
    ],
};
