//! The keys of `[upstream.NAME]` that say which endpoint a request goes to.

use super::{ENDPOINTS_MAX, HOUR, Key, Kind, Presence, Word, key, time};
use crate::balancer::Balance;
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

pub(super) const KEYS: [Key; 15] = [
    key(
        "balance",
        Kind::Choice(&Balance::NAMES),
        Presence::Default("\"least_request\""),
        "How an endpoint is picked: \"least_request\" takes the less busy of two drawn at random, \"round_robin\" goes round by weight, \"random\" draws by weight; \"peak_ewma\" and \"least_time\" take the one of two that is likely to answer sooner; \"maglev\", \"ring_hash\" and \"rendezvous\" send equal keys (`hash_on`) to the same endpoint. docs/balancing.md compares them.",
    ),
    key(
        "choices",
        Kind::Integer { min: 2, max: ENDPOINTS_MAX as u64 },
        Presence::Optional { example: "3", without: "2" },
        "How many endpoints \"least_request\", \"peak_ewma\" and \"least_time\" compare for each request; as many as there are, or more, is all of them, which takes time in proportion.",
    ),
    key(
        "hash_on",
        Kind::Words(Word::HashKey),
        Presence::Optional { example: "[\"header:X-User\", \"source\"]", without: "`\"source\"`" },
        "What the key is, for balances by key: \"source\" (the client's IPv4 address, or the /64 of its IPv6 one), \"path\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\"; of a list, the first that a request has. Without any of them it goes by chance.",
    ),
    key(
        "hash_seed",
        Kind::Secret,
        Presence::Optional { example: "\"env:HASH_SEED\"", without: "random for each start of the process" },
        "Makes it impossible to choose keys that all go to one endpoint. Gateways with the same seed send a key to the same endpoint, and so does one that is started again.",
    ),
    key(
        "hash_load_max",
        Kind::Percent { min: 1_010, max: 10_000 },
        Presence::Optional { example: "\"125%\"", without: "a key stays with its endpoint however busy that is" },
        "What an endpoint may have in flight, against its part of all that the upstream has; a key goes elsewhere while its endpoint is above that.",
    ),
    key(
        "latency_decay",
        time(HOUR),
        Presence::Optional { example: "\"10s\"", without: "`\"10s\"`" },
        "How long it takes until the latency of an endpoint counts half, for \"peak_ewma\" and \"least_time\".",
    ),
    key(
        "failure_penalty",
        time(HOUR),
        Presence::Optional { example: "\"1s\"", without: "`\"1s\"`" },
        "The latency that a failure or a 5xx response counts as, for \"peak_ewma\" and \"least_time\".",
    ),
    key(
        "sticky_cookie",
        Kind::Token,
        Presence::Optional { example: "\"gate\"", without: "sessions are not sticky" },
        "The name of a cookie that brings a client back to the endpoint that answered it first, for as long as that serves. It says nothing of the endpoint, and nobody can make one.",
    ),
    key(
        "sticky_key",
        Kind::Secret,
        Presence::Optional {
            example: "\"file:sticky.key\"",
            without: "random for each start of the process: sessions do not survive a restart and do not hold for other gateways",
        },
        "The secret that cookies are made with.",
    ),
    key(
        "sticky_max_age",
        time(YEAR),
        Presence::Optional { example: "\"1h\"", without: "until the browser ends" },
        "How long a browser keeps the cookie, from when it was set.",
    ),
    key(
        "sticky_path",
        Kind::UrlPath,
        Presence::Optional { example: "\"/app\"", without: "`\"/\"`" },
        "The path that a browser sends the cookie with.",
    ),
    key(
        "sticky_same_site",
        Kind::Choice(&["lax", "strict", "none"]),
        Presence::Optional { example: "\"strict\"", without: "`\"lax\"`" },
        "With which requests that come from other sites a browser sends the cookie.",
    ),
    key(
        "sticky_secure",
        Kind::Choice(&["auto", "always", "never"]),
        Presence::Optional { example: "\"always\"", without: "`\"auto\"`" },
        "Whether a browser sends the cookie over encrypted connections alone; \"auto\": if the one that it was set over is known to be.",
    ),
    key(
        "fail",
        Kind::Choice(&["open", "closed"]),
        Presence::Default("\"open\""),
        "What is done with a request when no endpoint serves: \"open\" tries one that is ejected or down all the same, for verdicts may be wrong; \"closed\" answers with 503 at once. Endpoints that drain or are disabled get nothing either way.",
    ),
    key(
        "overprovisioning",
        Kind::Percent { min: 1_000, max: 10_000 },
        Presence::Default("\"140%\""),
        "What the endpoints of one priority, or of the gateway's own zone, may be asked for beyond their part before others help: with 140 % they take everything while 72 % of their weight serves, and 70 % of it while half serves.",
    ),
];
