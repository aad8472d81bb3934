//! Tasks, timers and wakes.

use super::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

conformance!(
    timers_fire_in_order_and_never_early,
    a_timeout_ends_what_is_late_only,
    another_thread_wakes,
    wakes_before_the_wait_count_once,
    a_panic_costs_its_task_alone,
    tasks_that_yield_let_events_through,
);

async fn timers_fire_in_order_and_never_early(engine: Engine) {
    let fired: Rc<RefCell<Vec<u64>>> = Rc::default();
    let start = engine.now();
    for delay in [9u64, 3, 6, 1, 3, 0] {
        let (sleeper, fired) = (engine.clone(), fired.clone());
        engine.spawn(async move {
            let until = start + Duration::from_millis(delay);
            sleeper.sleep_until(until).await;
            assert!(sleeper.now() >= until);
            fired.borrow_mut().push(delay);
        });
    }
    while fired.borrow().len() < 6 {
        engine.sleep(Duration::from_millis(1)).await;
    }
    assert!(fired.borrow().is_sorted());
}

async fn a_timeout_ends_what_is_late_only(engine: Engine) {
    let soon = || engine.now() + Duration::from_millis(2);
    assert_eq!(engine.timeout(soon(), engine.sleep_until(Instant::NEVER)).await, Err(Elapsed));
    assert_eq!(engine.timeout(soon(), async { 1 }).await, Ok(1));
    assert_eq!(engine.timeout(Instant(0), async { 1 }).await, Ok(1));
    let (client, server) = pair(&engine).await;
    assert!(engine.timeout(soon(), server.receive()).await.is_err());
    send(&client, b"x").await.unwrap();
    assert_eq!(engine.timeout(Instant::NEVER, server.receive()).await.unwrap().unwrap()[..], b"x"[..]);
}

async fn another_thread_wakes(engine: Engine) {
    for _ in 0..50 {
        let remote = engine.remote();
        let thread = std::thread::spawn(move || remote.wake());
        engine.woken().await;
        thread.join().unwrap();
    }
}

async fn wakes_before_the_wait_count_once(engine: Engine) {
    for _ in 0..3 {
        engine.remote().wake();
    }
    engine.woken().await;
    turns(&engine, 2).await;
    assert!(is_pending(pin!(engine.woken())).await);
}

async fn a_panic_costs_its_task_alone(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let before = engine.counts();
    let counting = engine.clone();
    engine.spawn(async move {
        server.receive().await.unwrap();
        // Not through the hook: a test that passes prints no panic.
        std::panic::resume_unwind(Box::new("a bug"));
    });
    send(&client, b"boom").await.unwrap();
    assert!(client.receive().await.unwrap().is_empty(), "its stream is closed");
    assert_eq!(counting.counts().tasks_panicked, before.tasks_panicked + 1);
    assert_eq!(counting.counts().tasks_active, before.tasks_active);
    let (client, server) = pair(&engine).await;
    send(&client, b"on").await.unwrap();
    assert_eq!(receive_exactly(&server, 2).await, b"on");
}

async fn tasks_that_yield_let_events_through(engine: Engine) {
    let stop = Rc::new(Cell::new(false));
    for _ in 0..10 {
        let (busy, stop) = (engine.clone(), stop.clone());
        engine.spawn(async move {
            while !stop.get() {
                busy.yield_now().await;
            }
        });
    }
    let (client, server) = pair(&engine).await;
    send(&client, b"through").await.unwrap();
    assert_eq!(receive_exactly(&server, 7).await, b"through");
    engine.sleep(Duration::from_millis(1)).await;
    stop.set(true);
}
