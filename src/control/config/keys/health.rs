//! The keys of `[upstream.NAME]` by which its endpoints are judged, and by which it is given a rest.

use super::{HOUR, Key, Kind, MONTH, Presence, key, time, time_or_off};

const STREAK: Kind = Kind::Integer { min: 0, max: 1_000_000 };
const RATE: Kind = Kind::PercentOrOff { min: 1, max: 1_000 };
const OFF: Presence = Presence::Default("\"off\"");

pub(super) const KEYS: [Key; 26] = [
    key(
        "outlier_consecutive_connect",
        STREAK,
        Presence::Default("3"),
        "Eject an endpoint after so many failures to connect to it without a success between them, all workers together; 0 is off.",
    ),
    key(
        "outlier_consecutive_gateway",
        STREAK,
        Presence::Default("5"),
        "The same for gateway failures: responses of 502, 503 and 504, resets, timeouts, responses that are no HTTP.",
    ),
    key(
        "outlier_consecutive_5xx",
        STREAK,
        Presence::Default("0"),
        "The same for every response of 500 and above, gateway failures included. Off by default: an application that answers 500 to one client's requests is not broken.",
    ),
    key(
        "outlier_failure_rate_above",
        RATE,
        Presence::Default("\"30%\""),
        "Eject an endpoint of whose requests so many percentage points more fail than of the others', if that can be no chance. A failure is a response of 500 and above, or none.",
    ),
    key(
        "outlier_failure_rate",
        RATE,
        OFF,
        "Eject an endpoint of whose requests so many fail, whatever becomes of the others'.",
    ),
    key(
        "outlier_latency",
        Kind::PercentOrOff { min: 1_010, max: 1_000_000 },
        OFF,
        "Eject an endpoint that takes so much longer to answer than the median of the others, and longer than their spread explains: \"300%\" is three times as long. Needs three endpoints with traffic. Off by default: endpoints of several zones or kinds differ by nature.",
    ),
    key(
        "outlier_requests_min",
        Kind::Integer { min: 1, max: 1_000_000 },
        Presence::Default("20"),
        "Requests within the window, to an endpoint and to the others, before rates and latencies are compared.",
    ),
    key(
        "outlier_window",
        time(HOUR),
        Presence::Default("\"10s\""),
        "The time over which rates and latencies are taken.",
    ),
    key(
        "outlier_eject_time",
        time(MONTH),
        Presence::Default("\"10s\""),
        "How long the first ejection lasts. Each further one lasts twice as long, and each such time that the endpoint then works is forgiven by one.",
    ),
    key("outlier_eject_time_max", time(MONTH), Presence::Default("\"5m\""), "How long an ejection lasts at most."),
    key(
        "outlier_eject_max",
        Kind::Percent { min: 0, max: 1_000 },
        Presence::Default("\"50%\""),
        "How many of the endpoints may be ejected at a time, rounded up; \"0%\" is none. Never the last one, and at most a tenth of them (and one) in a second.",
    ),
    key(
        "outlier_load_max",
        Kind::Percent { min: 1_000, max: 1_000_000 },
        Presence::Default("\"200%\""),
        "What the endpoints that are left may be brought to by taking out one that still works: of the highest load that each was seen to carry well in ten minutes. It holds for probes too.",
    ),
    key(
        "outlier_probation",
        time_or_off(HOUR),
        Presence::Default("\"10s\""),
        "How long an endpoint takes from the end of its ejection to its full share: first a twentieth of it, until it has proved itself, then more and more. \"off\": all at once.",
    ),
    key(
        "slow_start",
        time_or_off(HOUR),
        OFF,
        "How long an endpoint that is new, or whose probes succeed again, takes to its full share.",
    ),
    key(
        "slow_start_curve",
        Kind::Choice(&["linear", "late", "early"]),
        Presence::Default("\"linear\""),
        "How the share grows: \"late\" gives little at first, for caches that must be filled; \"early\" gives much, for compilers that warm up by work.",
    ),
    key(
        "slow_start_min",
        Kind::Percent { min: 1, max: 1_000 },
        Presence::Default("\"10%\""),
        "The share that a slow start begins with.",
    ),
    key(
        "breaker_failure_rate",
        RATE,
        OFF,
        "Reject requests to this upstream for a while once so many of them fail, all endpoints together.",
    ),
    key("breaker_slow_rate", RATE, OFF, "The same once so many of them take longer than `breaker_slow_after`."),
    key(
        "breaker_slow_after",
        time(HOUR),
        Presence::Default("\"1s\""),
        "From which time on an answer is slow: from the request sent to the response head, for tcp from the start of the connect to its end.",
    ),
    key("breaker_window", time(HOUR), Presence::Default("\"10s\""), "The time over which these rates are taken."),
    key(
        "breaker_requests_min",
        Kind::Integer { min: 1, max: 1_000_000 },
        Presence::Default("20"),
        "Requests within the window before the rates say anything.",
    ),
    key(
        "breaker_reject_time",
        time(HOUR),
        Presence::Default("\"5s\""),
        "How long requests are rejected before a few are let through to find out.",
    ),
    key(
        "breaker_probes",
        Kind::Integer { min: 1, max: 1_000 },
        Presence::Default("5"),
        "How many requests at a time find out whether the upstream is well again, and how many must have been answered to know.",
    ),
    key(
        "breaker_status",
        Kind::Integer { min: 200, max: 599 },
        Presence::Default("503"),
        "The status that rejected requests are answered with. tcp connections are closed.",
    ),
    key(
        "breaker_body",
        Kind::Text,
        Presence::Optional { example: "\"Back in a minute.\"", without: "a line that says what happened" },
        "The text that rejected requests are answered with.",
    ),
    key(
        "breaker_fallback",
        Kind::Name,
        Presence::Optional { example: "\"spare\"", without: "they are rejected" },
        "Another upstream that takes what this one would reject. If its breaker rejects too, the request is rejected.",
    ),
];
