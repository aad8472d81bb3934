//! Where requests go: by key, by cookie, by zone, priority and label, to backups, away from what fails.

use super::*;
use crate::harness::{HEAD, RAW, WEB};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

on_each_engine!(
    a_key_has_its_endpoint_and_few_keys_move,
    keys_are_taken_from_every_part_of_a_request,
    gateways_with_one_seed_agree,
    connections_go_by_their_source,
    a_cookie_brings_a_client_back,
    a_cookie_survives_a_restart_with_its_key,
    a_backup_is_used_only_when_needed,
    the_own_zone_and_the_first_priority_come_first,
    a_route_sends_to_what_its_labels_name,
    failing_fast_is_not_being_fast,
);

/// An origin that says who it is until it dies: then it resets each connection.
struct Mortal {
    origin: Origin,
    dead: Arc<AtomicBool>,
}

impl Mortal {
    fn new(name: usize) -> Mortal {
        let dead = Arc::new(AtomicBool::new(false));
        let seen = dead.clone();
        let origin = Origin::raw(move |mut connection| {
            while connection.request().is_some() {
                if seen.load(Ordering::SeqCst) {
                    return connection.reset();
                }
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}"));
            }
        });
        Mortal { origin, dead }
    }

    fn many(count: usize) -> Vec<Mortal> {
        (0..count).map(Mortal::new).collect()
    }

    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

fn config(of: &[Mortal], upstream: &str) -> String {
    Gate::http_config(&of.iter().map(|mortal| &mortal.origin).collect::<Vec<_>>(), upstream)
}

/// Which origin answers a GET with this field.
fn who(client: &mut Client, field: &str) -> String {
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
    let response = client.response();
    assert_eq!(response.status, 200);
    response.text()
}

fn a_key_has_its_endpoint_and_few_keys_move(engine: Engine) {
    let origins = Mortal::many(5);
    for balance in ["maglev", "ring_hash", "rendezvous"] {
        let origins = if balance == "maglev" { &origins } else { &Mortal::many(5) };
        let by_user = format!("balance = \"{balance}\"\nhash_on = \"header:X-User\"");
        let gate = Gate::start(engine, &config(origins, &by_user));
        let users: Vec<String> = (0..100).map(|user| format!("X-User: {user}")).collect();
        let place = |user: &String| who(&mut gate.client(), user);
        let before: Vec<String> = users.iter().map(place).collect();
        assert_eq!(before, users.iter().map(place).collect::<Vec<_>>(), "{balance}");
        origins[2].die();
        let after: Vec<String> = users.iter().map(place).collect();
        for (before, after) in before.iter().zip(&after) {
            assert!(if before == "2" { after != "2" } else { before == after }, "{balance}: {before} {after}");
        }
        assert!(before.iter().filter(|place| *place == "2").count() > 3, "{balance}: {before:?}");
    }
}

fn keys_are_taken_from_every_part_of_a_request(engine: Engine) {
    let origins = Mortal::many(4);
    for (key, head) in [
        ("path", "GET /KEY HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("query:user", "GET /?a=1&user=KEY HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("cookie:session", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; session=KEY\r\n\r\n"),
        ("header:x-user", "GET / HTTP/1.1\r\nHost: a\r\nX-USER: KEY\r\n\r\n"),
    ] {
        let upstream = format!("balance = \"maglev\"\nhash_on = [\"header:X-None\", \"{key}\", \"source\"]");
        let gate = Gate::start(engine, &config(&origins, &upstream));
        let mut client = gate.client();
        let mut answer = |user: usize| client.send(head.replace("KEY", &user.to_string())).response().text();
        let places: Vec<String> = (0..40).map(&mut answer).collect();
        assert_eq!(places, (0..40).map(answer).collect::<Vec<_>>(), "{key}");
        assert!(places.iter().any(|place| *place != places[0]), "{key}");
        // Without a key the next one on the list holds: the source, which all of these share.
        let without: Vec<String> = (0..10).map(|_| who(&mut gate.client(), "X-Other: 1")).collect();
        if key != "path" {
            assert!(without.iter().all(|place| *place == without[0]), "{key}");
        }
    }
}

/// A file that holds a secret, and goes with this value.
struct SecretFile(PathBuf);

impl SecretFile {
    fn new(engine: Engine, name: &str) -> SecretFile {
        let path = std::env::temp_dir().join(format!("ringgate-it-{name}-{}-{}", engine.name(), std::process::id()));
        std::fs::write(&path, "a secret of at least 16 bytes\n").expect("a file");
        SecretFile(path)
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn gateways_with_one_seed_agree(engine: Engine) {
    let origins = Mortal::many(6);
    let seed = SecretFile::new(engine, "seed");
    let by_user = "balance = \"rendezvous\"\nhash_on = \"header:X-User\"";
    let seeded = format!("{by_user}\nhash_seed = \"file:{}\"", seed.0.display());
    let places = |upstream: &str| {
        let gate = Gate::start(engine, &config(&origins, upstream));
        let mut client = gate.client();
        (0..40).map(|user| who(&mut client, &format!("X-User: {user}"))).collect::<Vec<_>>()
    };
    assert_eq!(places(&seeded), places(&seeded));
    // Without one nobody outside can know where a key goes.
    assert_ne!(places(by_user), places(by_user));
}

fn connections_go_by_their_source(engine: Engine) {
    let origins: Vec<Origin> = (0..4)
        .map(|name| {
            Origin::raw(move |mut connection| {
                connection.send(format!("{name}\n"));
            })
        })
        .collect();
    let addresses: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    let upstream = format!("[upstream.app]\nbalance = \"maglev\"\nendpoints = [{}]\n", addresses.join(", "));
    let gate = Gate::start(engine, &format!("{HEAD}{RAW}\n{upstream}"));
    let place = |from: u8| Client::connect_from([127, 0, 0, from], gate.address("raw")).try_line();
    let places: Vec<_> = (1..30).map(place).collect();
    assert_eq!(places, (1..30).map(place).collect::<Vec<_>>());
    assert!(places.iter().any(|place| *place != places[0]));
}

/// Gets a page with these cookies: who answered, and the cookie that was set.
fn visit(gate: &Gate, cookie: &str) -> (String, Option<String>) {
    let mut client = gate.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: theme=dark; {cookie}\r\n\r\n"));
    let response = client.response();
    assert_eq!(response.status, 200);
    (response.text(), response.field("set-cookie").map(str::to_owned))
}

fn a_cookie_brings_a_client_back(engine: Engine) {
    let origins = Mortal::many(4);
    let sticky = "sticky_cookie = \"gate\"\nsticky_path = \"/app\"\nsticky_max_age = \"1h\"";
    let gate = Gate::start(engine, &config(&origins, sticky));
    let (home, set) = visit(&gate, "gate=0123456789abcdef0123456789abcdef");
    let set = set.expect("a cookie that is not ours names nobody, so one is set");
    let (cookie, attributes) = set.split_once("; ").expect("it has attributes");
    assert_eq!(attributes, "Path=/app; HttpOnly; Max-Age=3600; SameSite=Lax");
    for _ in 0..20 {
        assert_eq!(visit(&gate, cookie), (home.clone(), None));
    }
    // A reload changes nothing, though the endpoints are others and stand in another order.
    let more: Vec<Mortal> = Mortal::many(1).into_iter().chain(origins).rev().collect();
    gate.reload(&config(&more, sticky));
    assert_eq!(visit(&gate, cookie), (home.clone(), None));
    let dead = more.iter().rev().skip(1).nth(home.parse().expect("a number")).expect("it is there");
    dead.die();
    let (refuge, set) = visit(&gate, cookie);
    assert_ne!(refuge, home);
    let set = set.expect("a new home, a new cookie");
    let next = set.split(';').next().expect("a value");
    assert_ne!(next, cookie);
    for _ in 0..10 {
        assert_eq!(visit(&gate, next), (refuge.clone(), None));
    }
}

fn a_cookie_survives_a_restart_with_its_key(engine: Engine) {
    let origins = Mortal::many(4);
    let key = SecretFile::new(engine, "sticky");
    let sticky = format!("sticky_cookie = \"gate\"\nsticky_key = \"file:{}\"", key.0.display());
    let start = || Gate::start(engine, &config(&origins, &sticky));
    let gate = start();
    let (home, set) = visit(&gate, "a=b");
    let cookie = set.expect("a first visit").split(';').next().expect("a value").to_owned();
    drop(gate);
    let gate = start();
    assert_eq!(visit(&gate, &cookie), (home, None));
    let other = Gate::start(engine, &config(&origins, "sticky_cookie = \"gate\""));
    assert!(visit(&other, &cookie).1.is_some(), "another key, another cookie");
}

/// A configuration whose endpoints have these keys beside their addresses.
fn placed(top: &str, of: &[Mortal], keys: &[&str], upstream: &str) -> String {
    let tables: Vec<String> = of
        .iter()
        .zip(keys)
        .map(|(mortal, keys)| format!("{{ address = \"{}\", {keys} }}", mortal.origin.address))
        .collect();
    format!("{top}\n{HEAD}{WEB}\n[upstream.app]\nendpoints = [{}]\n{upstream}\n", tables.join(", "))
}

/// How often each origin answers.
fn tally(gate: &Gate, requests: usize) -> HashMap<String, usize> {
    let mut tally = HashMap::new();
    let mut client = gate.client();
    for _ in 0..requests {
        *tally.entry(who(&mut client, "X: y")).or_default() += 1;
    }
    tally
}

fn a_backup_is_used_only_when_needed(engine: Engine) {
    let origins = Mortal::many(3);
    let keys = ["weight = 1", "weight = 1", "backup = true"];
    let gate = Gate::start(engine, &placed("", &origins, &keys, ""));
    assert_eq!(tally(&gate, 100).get("2"), None);
    origins[0].die();
    // The request that finds one dead is served by the other, not by the backup.
    assert_eq!(tally(&gate, 100).get("2"), None);
    origins[1].die();
    assert_eq!(tally(&gate, 20)["2"], 20);
}

fn the_own_zone_and_the_first_priority_come_first(engine: Engine) {
    let zones = Mortal::many(3);
    let keys = ["zone = \"a\"", "zone = \"b\"", "zone = \"b\""];
    let gate = Gate::start(engine, &placed("zone = \"a\"", &zones, &keys, ""));
    assert_eq!(tally(&gate, 50)["0"], 50);
    zones[0].die();
    assert_eq!(tally(&gate, 50).get("0"), None);
    // A gateway elsewhere, by a reload.
    gate.reload(&placed("zone = \"b\"", &zones, &keys, ""));
    assert_eq!(tally(&gate, 100).get("0"), None);

    let levels = Mortal::many(3);
    let keys = ["priority = 1", "priority = 0", "priority = 2"];
    let gate = Gate::start(engine, &placed("", &levels, &keys, ""));
    assert_eq!(tally(&gate, 50)["1"], 50);
    levels[1].die();
    assert_eq!(tally(&gate, 20)["0"], 20);
}

fn a_route_sends_to_what_its_labels_name(engine: Engine) {
    let origins = Mortal::many(4);
    let old = "labels = { version = \"v1\" }";
    let new = "labels = { version = \"v2\", stage = \"canary\" }";
    let labelled = placed("", &origins, &[old, new, old, new], "balance = \"round_robin\"");
    let route = "[[route]]\npath = \"/new\"\nlabels = { version = \"v2\" }\nupstream = \"app\"\n";
    let gate = Gate::start(engine, &format!("{labelled}\n{route}"));
    let mut client = gate.client();
    let mut answers = |path: &str| -> Vec<String> { (0..40).map(|_| client.get(path).text()).collect() };
    let all = answers("/");
    assert!((0..4).all(|origin| all.contains(&origin.to_string())), "{all:?}");
    let new = answers("/new");
    assert!(new.iter().all(|origin| ["1", "3"].contains(&origin.as_str())), "{new:?}");
    assert!(new.contains(&"1".to_owned()) && new.contains(&"3".to_owned()));
}

fn failing_fast_is_not_being_fast(engine: Engine) {
    let failing = Origin::http(|_| Response::new(500, "broken"));
    let fine = [Origin::text("fine"), Origin::text("fine")];
    for balance in ["peak_ewma", "least_time"] {
        let of = [&failing, &fine[0], &fine[1]];
        let before = failing.requests().len();
        let gate = Gate::start(engine, &Gate::http_config(&of, &format!("balance = \"{balance}\"")));
        let mut client = gate.client();
        for _ in 0..300 {
            client.get("/");
        }
        let failed = failing.requests().len() - before;
        assert!((1..30).contains(&failed), "{balance}: {failed} of 300");
    }
}
