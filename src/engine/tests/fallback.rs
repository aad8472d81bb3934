//! Where the kernel forbids io_uring, `Auto` is epoll and says why; `Uring` is an error that says the same.

use super::*;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;

/// Lets `io_uring_setup` fail with `error` on this thread from here on, as container runtimes do.
fn forbid_io_uring(error: i32) {
    let rules = BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]);
    let answer = SeccompAction::Errno(error as u32);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// The filter is the thread's, and ends with it.
fn on_filtered_thread(error: i32, test: impl FnOnce() + std::marker::Send + 'static) {
    let thread = std::thread::spawn(move || {
        forbid_io_uring(error);
        test();
    });
    thread.join().unwrap();
}

fn falls_back(error: i32, why: &'static str) {
    on_filtered_thread(error, move || {
        let engine = Engine::new(&settings(DriverChoice::Auto)).unwrap();
        assert_eq!(engine.driver_name(), "epoll");
        let said = engine.fallback().unwrap().to_owned();
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
        run(engine, |engine| async move {
            let (client, server) = pair(&engine).await;
            send(&client, b"works").await.unwrap();
            assert_eq!(receive_exactly(&server, 5).await, b"works");
        });
        let error = Engine::new(&settings(DriverChoice::Uring)).err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
    });
}

#[test]
fn a_forbidden_ring_is_replaced_by_epoll() {
    falls_back(libc::EPERM, "not permitted");
}

#[test]
fn a_missing_ring_is_replaced_by_epoll() {
    falls_back(libc::ENOSYS, "has no io_uring");
}

#[test]
fn what_is_chosen_needs_no_reason() {
    let engine = Engine::new(&settings(DriverChoice::Epoll)).unwrap();
    assert_eq!((engine.driver_name(), engine.fallback()), ("epoll", None));
}
