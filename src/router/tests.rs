//! The router against examples, and against a reference that reads all routes one by one.

use super::*;
use proptest::prelude::*;

fn router(routes: &[(&[&str], PathMatch<'_>, &[&str])]) -> Router {
    let mut builder = RouterBuilder::new();
    for (index, (hosts, path, methods)) in routes.iter().enumerate() {
        builder.add(hosts, *path, methods, index as u32).unwrap();
    }
    builder.build()
}

fn check(router: &Router, host: &str, path: &str, method: &str, expected: &str) {
    let answer = match router.route(host.as_bytes(), path.as_bytes(), method.as_bytes()) {
        Ok(route) => route.to_string(),
        Err(Miss::NoRoute) => "none".to_owned(),
        Err(Miss::MethodNotAllowed(allow)) => format!("{allow:?}"),
    };
    assert_eq!(answer, expected, "{method} {host}{path}");
}

use PathMatch::{Exact, Prefix};

#[test]
fn no_routes_match_nothing() {
    check(&Router::default(), "a.test", "/", "GET", "none");
}

#[test]
fn prefixes_match_by_segment() {
    for prefix in ["/v1", "/v1/"] {
        let router = router(&[(&[], Prefix(prefix), &[])]);
        for path in ["/v1", "/v1/", "/v1/x", "/v1//", "/v1/x/../y"] {
            check(&router, "", path, "GET", "0");
        }
        for path in ["/", "/v", "/v1x", "/v2", "//v1", "*", "", "v1"] {
            check(&router, "", path, "GET", "none");
        }
    }
}

#[test]
fn the_root_prefix_matches_every_path() {
    let router = router(&[(&[], Prefix("/"), &[])]);
    for path in ["/", "/a", "/a/b/", "//", "*"] {
        check(&router, "", path, "OPTIONS", "0");
    }
}

#[test]
fn exact_paths_beat_prefixes_and_longer_prefixes_beat_shorter_ones() {
    let router = router(&[
        (&[], Prefix("/"), &[]),
        (&[], Prefix("/a"), &[]),
        (&[], Prefix("/a/b"), &[]),
        (&[], Exact("/a/b"), &[]),
        (&[], Exact("/a/"), &[]),
        (&[], Exact("/"), &[]),
    ]);
    for (path, expected) in [
        ("/", "5"),
        ("/x", "0"),
        ("/a", "1"),
        ("/a/", "4"),
        ("/a/c", "1"),
        ("/a/b", "3"),
        ("/a/b/", "2"),
        ("/a/b/c", "2"),
    ] {
        check(&router, "", path, "GET", expected);
    }
}

#[test]
fn hosts_match_in_any_case_and_with_any_port() {
    let router = router(&[(&["API.example.com", "[2001:db8::1]"], Prefix("/"), &[])]);
    for host in [
        "api.example.com",
        "Api.Example.Com:8080",
        "api.example.com.",
        "api.example.com.:80",
        "[2001:DB8::1]:80",
        "[2001:db8::1]",
    ] {
        check(&router, host, "/", "GET", "0");
    }
    for host in ["example.com", "x.api.example.com", "", ":80", "2001:db8::1"] {
        check(&router, host, "/", "GET", "none");
    }
}

#[test]
fn exact_hosts_beat_longer_suffixes_beat_shorter_ones_beat_none() {
    let router = router(&[
        (&[], Prefix("/"), &[]),
        (&["*.com"], Prefix("/"), &[]),
        (&["*.example.com"], Prefix("/"), &[]),
        (&["api.example.com"], Prefix("/"), &[]),
    ]);
    for (host, expected) in [
        ("api.example.com", "3"),
        ("www.example.com", "2"),
        ("a.b.c.example.com", "2"),
        ("example.com", "1"),
        (".example.com", "1"),
        ("com", "0"),
        ("example.org", "0"),
    ] {
        check(&router, host, "/", "GET", expected);
    }
}

#[test]
fn a_less_specific_host_serves_what_a_more_specific_one_does_not() {
    let router = router(&[(&[], Prefix("/"), &[]), (&["a.test"], Prefix("/v1"), &[])]);
    check(&router, "a.test", "/v1", "GET", "1");
    check(&router, "a.test", "/v2", "GET", "0");
}

#[test]
fn a_route_with_methods_beats_one_without() {
    let router = router(&[(&[], Prefix("/"), &[]), (&[], Prefix("/"), &["POST", "PURGE"])]);
    for (method, expected) in [("GET", "0"), ("POST", "1"), ("PURGE", "1"), ("post", "0"), ("OTHER", "0")] {
        check(&router, "", "/", method, expected);
    }
}

#[test]
fn rfc9110_15_5_6_a_method_miss_names_the_allowed_ones() {
    let router = router(&[
        (&[], Prefix("/"), &["PURGE", "GET"]),
        (&[], Prefix("/a"), &["PUT"]),
        (&["a.test"], Exact("/a"), &["DELETE", "GET"]),
    ]);
    check(&router, "a.test", "/a", "POST", "GET, PUT, DELETE, PURGE");
    check(&router, "", "/b", "POST", "GET, PURGE");
    check(&router, "", "/b", "UNHEARD", "GET, PURGE");
}

#[test]
fn ties_are_conflicts() {
    let mut builder = RouterBuilder::new();
    builder.add(&["a.test"], Prefix("/a"), &["GET", "PUT"], 0).unwrap();
    builder.add(&["a.test"], Prefix("/a/"), &["POST"], 1).unwrap();
    builder.add(&["a.test"], Exact("/a"), &["GET"], 2).unwrap();
    builder.add::<&str, &str>(&[], Prefix("/a"), &[], 3).unwrap();
    assert_eq!(builder.add(&["b.test", "A.test."], Prefix("/a"), &["PUT"], 4), Err(Conflict { first: 0 }));
    assert_eq!(builder.add::<_, &str>(&["*"], Prefix("/a/"), &[], 5), Err(Conflict { first: 3 }));
    // A route that says a thing twice is in nobody's way.
    assert_eq!(builder.add(&["c.test", "C.test"], Prefix("/"), &["GET", "GET"], 6), Ok(()));
}

#[test]
fn long_hosts_and_deep_paths_are_no_worse_than_others() {
    let router = router(&[(&["*.a.a"], Prefix("/a/a"), &[]), (&[], Prefix("/x"), &[])]);
    check(&router, &"a.".repeat(30_000), &"/a".repeat(30_000), "GET", "none");
    check(&router, &"a.".repeat(30_000), &"/x".repeat(30_000), "GET", "1");
    check(&router, "a.a.a", &"/a".repeat(30_000), "GET", "0");
}

/// A route as the reference reads it.
#[derive(Clone, Debug)]
struct Rule {
    hosts: Vec<&'static str>,
    exact: bool,
    path: String,
    methods: Vec<&'static str>,
}

/// How specific the match of a rule is, or `None` if host or path do not match. The method is looked at last.
fn specificity(rule: &Rule, host: &str, path: &str) -> Option<(usize, bool, usize)> {
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
    let of_host = |pattern: &&str| match pattern.strip_prefix('*') {
        Some("") => Some(0),
        Some(suffix) => (host.len() > suffix.len() && host.ends_with(suffix)).then_some(suffix.len()),
        None => (host == *pattern).then_some(usize::MAX),
    };
    let host_rank = if rule.hosts.is_empty() { Some(0) } else { rule.hosts.iter().filter_map(of_host).max() }?;
    let prefix = rule.path.strip_suffix('/').unwrap_or(&rule.path);
    let matches = match rule.exact {
        true => path == rule.path,
        false => path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')),
    };
    matches.then_some((host_rank, rule.exact, prefix.len()))
}

fn reference(rules: &[Rule], host: &str, path: &str, method: &str) -> Result<u32, bool> {
    let matching = || {
        rules.iter().enumerate().filter_map(|(index, rule)| Some((specificity(rule, host, path)?, rule, index as u32)))
    };
    matching()
        .filter(|(_, rule, _)| rule.methods.is_empty() || rule.methods.contains(&method))
        .max_by_key(|(rank, rule, _)| (*rank, !rule.methods.is_empty()))
        .map(|(_, _, index)| index)
        .ok_or(matching().next().is_some())
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "", "c", "d", "e"]), 1..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let host = prop_oneof![Just("a.test"), Just("b.a.test"), Just("*.a.test"), Just("*.test"), Just("*")];
    let method = prop_oneof![Just("GET"), Just("PUT"), Just("PURGE")];
    (prop::collection::vec(host, 0..2), any::<bool>(), any_path(), prop::collection::vec(method, 0..2))
        .prop_map(|(hosts, exact, path, methods)| Rule { hosts, exact, path, methods })
}

proptest! {
    #[test]
    fn agrees_with_the_reference(
        rules in prop::collection::vec(any_rule(), 0..40),
        requests in prop::collection::vec((
            prop_oneof![Just("a.test"), Just("B.A.test:80"), Just("x.b.a.test"), Just("test"), Just("other")],
            any_path(),
            prop_oneof![Just("GET"), Just("PUT"), Just("PURGE"), Just("POST"), Just("ODD")],
        ), 1..20),
    ) {
        let mut builder = RouterBuilder::new();
        // A rule that conflicts, in part or whole, would not have been accepted; the reference does without it too.
        let mut kept: Vec<Rule> = Vec::new();
        for rule in rules {
            let path = if rule.exact { Exact(&rule.path) } else { Prefix(&rule.path) };
            let mut trial = RouterBuilder::new();
            let mut all = kept.clone();
            all.push(rule.clone());
            let fits = all.iter().enumerate().all(|(index, rule)| {
                let path = if rule.exact { Exact(&rule.path) } else { Prefix(&rule.path) };
                trial.add(&rule.hosts, path, &rule.methods, index as u32).is_ok()
            });
            if fits {
                builder.add(&rule.hosts, path, &rule.methods, kept.len() as u32).unwrap();
                kept.push(rule);
            }
        }
        let router = builder.build();
        for (host, path, method) in &requests {
            let answer = router.route(host.as_bytes(), path.as_bytes(), method.as_bytes());
            let answer = answer.map_err(|miss| matches!(miss, Miss::MethodNotAllowed(_)));
            let request = format!("{method} {host}{path} of {kept:?}");
            prop_assert_eq!(answer, reference(&kept, host, path, method), "{}", request);
        }
    }

    #[test]
    fn no_input_panics(host in prop::collection::vec(any::<u8>(), 0..300), path in prop::collection::vec(any::<u8>(), 0..300), method in prop::collection::vec(any::<u8>(), 0..10)) {
        let router = router(&[(&["*.a"], Prefix("/a"), &["GET"]), (&["b"], Exact("/"), &[])]);
        let _ = router.route(&host, &path, &method).map_err(|miss| format!("{miss:?}"));
    }
}

/// Hosts, segments and methods that come from a client are looked up by keyed hashes: with keys of their own, no two tables
/// have the same collisions, and nobody outside can know any.
#[test]
fn tables_that_clients_ask_have_keys_of_their_own() {
    use std::cell::Cell;
    use std::collections::HashMap;
    use std::collections::hash_map::{DefaultHasher, RandomState};
    use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

    thread_local! {
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }
    #[derive(Eq)]
    struct Counted(u64);
    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl PartialEq for Counted {
        fn eq(&self, other: &Counted) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }
    fn comparisons<S: BuildHasher + Default>(keys: &[u64]) -> usize {
        let table: HashMap<Counted, (), S> = keys.iter().map(|key| (Counted(*key), ())).collect();
        COMPARED.set(0);
        assert!(keys.iter().all(|key| table.contains_key(&Counted(*key))));
        COMPARED.get()
    }
    // Keys that share the parts of the hash that a table looks at, where the hash has no key.
    let unkeyed = BuildHasherDefault::<DefaultHasher>::default();
    let shared = |key: &u64| unkeyed.hash_one(Counted(*key)) & 0xfe00_0000_0000_00ff == 0;
    let crafted: Vec<u64> = (0..4_000_000).filter(shared).collect();
    assert!(crafted.len() >= 100, "{}", crafted.len());
    let (known, keyed) =
        (comparisons::<BuildHasherDefault<DefaultHasher>>(&crafted), comparisons::<RandomState>(&crafted));
    assert!(known > 20 * crafted.len(), "the keys do not collide: {known} comparisons of {}", crafted.len());
    assert!(keyed < 2 * crafted.len(), "{keyed} comparisons of {}", crafted.len());
    // The tables are of that kind; another would not compile here.
    fn is_keyed<K, V>(_: &HashMap<K, V, RandomState>) {}
    let router = Router::default();
    is_keyed(&router.methods);
    is_keyed(&router.hosts.exact);
    is_keyed(&router.hosts.suffix);
    if let paths::Children::Many(many) = paths::Children::default() {
        is_keyed(&many);
    }
}
