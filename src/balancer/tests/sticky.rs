//! Cookies of sticky sessions: only ours count, and only while their endpoint serves.

use super::*;
use std::time::Duration;

fn policy() -> StickyPolicy {
    let (cookie, path) = ("gate".into(), "/".into());
    StickyPolicy { cookie, path, max_age: None, same_site: SameSite::Lax, secure: Secure::Auto }
}

fn sticky(endpoints: &[Endpoint], key: &[u8]) -> Sticky {
    Sticky::new(policy(), &StickyKey::of(key), "app", endpoints)
}

fn value(sticky: &Sticky, index: usize) -> String {
    let cookie = sticky.set_cookie(index, false).unwrap();
    cookie.strip_prefix("gate=").unwrap().split(';').next().unwrap().to_owned()
}

#[test]
fn a_cookie_leads_back_to_its_endpoint() {
    let endpoints = endpoints(&[1; 100]);
    let here = sticky(&endpoints, b"secret");
    for index in 0..100 {
        let value = value(&here, index);
        assert_eq!(here.endpoint(value.as_bytes()), Some(index as u32));
        assert!(!value.contains("127"), "{value}");
        // The same for every gateway with the same secret, whatever the order of its endpoints.
        let turned: Vec<_> = endpoints.iter().rev().cloned().collect();
        assert_eq!(sticky(&turned, b"secret").endpoint(value.as_bytes()), Some(99 - index as u32));
        assert_eq!(sticky(&endpoints, b"another").endpoint(value.as_bytes()), None);
        assert_eq!(Sticky::new(policy(), &StickyKey::of(b"secret"), "b", &endpoints).endpoint(value.as_bytes()), None);
    }
    assert_eq!(here.set_cookie(100, false), None);
}

#[test]
fn what_is_no_cookie_of_ours_names_nobody() {
    let sticky = sticky(&endpoints(&[1; 2]), b"secret");
    let value = value(&sticky, 0);
    for wrong in
        ["", "0", &value[1..], &format!("{value}0"), &format!("+{}", &value[1..]), &"0".repeat(32), &"é".repeat(16)]
    {
        assert_eq!(sticky.endpoint(wrong.as_bytes()), None, "{wrong}");
    }
    assert_eq!(sticky.endpoint(value.to_uppercase().as_bytes()), Some(0));
}

#[test]
fn its_attributes_are_as_configured() {
    let endpoints = endpoints(&[1]);
    let text = |policy: StickyPolicy, encrypted| {
        let sticky = Sticky::new(policy, &StickyKey::of(b"secret"), "app", &endpoints);
        sticky.set_cookie(0, encrypted).unwrap().split_once("; ").unwrap().1.to_owned()
    };
    assert_eq!(text(policy(), false), "Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(text(policy(), true), "Path=/; HttpOnly; SameSite=Lax; Secure");
    let other = StickyPolicy {
        path: "/app".into(),
        max_age: Some(Duration::from_secs(3600)),
        same_site: SameSite::None,
        secure: Secure::Always,
        ..policy()
    };
    assert_eq!(text(other, false), "Path=/app; HttpOnly; Max-Age=3600; SameSite=None; Secure");
    let never = StickyPolicy { same_site: SameSite::Strict, secure: Secure::Never, ..policy() };
    assert_eq!(text(never, true), "Path=/; HttpOnly; SameSite=Strict");
}

#[test]
fn a_kept_endpoint_is_taken_while_it_serves() {
    let endpoints = endpoints(&[1; 5]);
    for balance in ALL {
        set(&endpoints[2], EndpointState::Serving, 1);
        let mut worker = Worker::of(balance, &endpoints);
        let pick = |worker: &mut Worker, tried: &[u32]| {
            let ask = worker.ask(tried, 7);
            let ask = Ask { affinity: Affinity { kept: Some(2), ..ask.affinity }, ..ask };
            worker.picker.pick(&worker.planned.load(), &worker.endpoints, &ask)
        };
        // Even while it warms up: the client is known there.
        assert_eq!(pick(&mut worker, &[]), Some(2));
        assert!(pick(&mut worker, &[2]).is_some_and(|index| index != 2));
        for state in [EndpointState::Ejected, EndpointState::Draining, EndpointState::Down] {
            set(&endpoints[2], state, 1000);
            worker.planned.replan(&endpoints);
            assert!(pick(&mut worker, &[]).is_some_and(|index| index != 2), "{balance:?} {state:?}");
        }
    }
}
