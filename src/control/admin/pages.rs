//! The pages of the admin listener: which path shows what, with which status. What they show is made in `metrics` and
//! `view`.

use super::upstreams::{self, Query, Refused};
use super::{AdminState, ReloadOutcome, guard, metrics, view};
use crate::snapshot::Phase;
use crate::telemetry::prometheus;
use axum::extract::{Path, Query as InQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long a page may take to be made.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

const INDEX: &str = "\
Ringgate admin
  GET  /metrics   Prometheus text format
  GET  /ready     200 while serving; 503 before and while draining
  GET  /live      200 while the control plane answers
  GET  /snapshot  what is in force, with its generation
  GET  /drain     what drains: since when, and how much is left
  GET  /workers   counters of each worker
  GET  /upstreams how every endpoint stands, why, since when, and what would bring it back
  POST /reload    read the configuration anew: all of it applies or none
  POST /upstreams/NAME/ACTION?endpoint=ADDRESS
                  drain, disable or return an endpoint, or give it a weight (&weight=N, or &weight=configured)
";

#[derive(Clone)]
struct Shown {
    state: Arc<AdminState>,
    /// One long page is made at a time: with 10,000 endpoints it is megabytes.
    making: Arc<Semaphore>,
}

pub(super) fn pages(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics_page))
        .route("/snapshot", get(snapshot_page))
        .route("/drain", get(drain_page))
        .route("/workers", get(workers_page))
        .route("/upstreams", get(upstreams_page))
        .route("/upstreams/{upstream}/{action}", post(operate))
        .route("/reload", post(reload))
        .layer(middleware::from_fn(guard::guard))
        .with_state(Shown { state, making: Arc::new(Semaphore::new(1)) })
}

async fn ready(State(shown): State<Shown>) -> Response {
    let phase = shown.state.published.phase();
    match (phase, shown.state.started.load(Ordering::Acquire)) {
        (Phase::Serving, true) => (StatusCode::OK, "ready\n").into_response(),
        (Phase::Serving, false) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        (Phase::Draining | Phase::Stopping, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn metrics_page(State(shown): State<Shown>) -> Response {
    let made = make(&shown, metrics::page).await;
    made.map(|text| ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text)).into_response()
}

async fn snapshot_page(State(shown): State<Shown>) -> Response {
    let made = make(&shown, |state| view::snapshot(&state.published.load())).await;
    made.map(Json).into_response()
}

async fn drain_page(State(shown): State<Shown>) -> Response {
    make(&shown, |state| view::drains(&state.drains, &state.published)).await.map(Json).into_response()
}

async fn workers_page(State(shown): State<Shown>) -> Response {
    make(&shown, |state| view::workers(&state.workers)).await.map(Json).into_response()
}

async fn upstreams_page(State(shown): State<Shown>) -> Response {
    make(&shown, upstreams::all).await.map(Json).into_response()
}

/// 200 and how the endpoint stands now; 400 or 404 and what is wrong.
async fn operate(
    State(shown): State<Shown>,
    Path((upstream, action)): Path<(String, String)>,
    InQuery(query): InQuery<Query>,
) -> Response {
    match upstreams::operate(&shown.state, &upstream, &action, &query) {
        Ok(endpoint) => Json(endpoint).into_response(),
        Err(Refused::Malformed(why)) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
        Err(Refused::Missing(why)) => (StatusCode::NOT_FOUND, format!("{why}\n")).into_response(),
    }
}

/// Makes a page off the runtime's own thread, which must go on answering `/ready`.
async fn make<T: Send + 'static>(
    shown: &Shown,
    page: impl FnOnce(&AdminState) -> T + Send + 'static,
) -> Result<T, (StatusCode, &'static str)> {
    let state = shown.state.clone();
    let making = shown.making.clone();
    let made = timeout(PAGE_TIMEOUT, async move {
        let _permit = making.acquire_owned().await;
        spawn_blocking(move || page(&state)).await
    });
    match made.await {
        Ok(Ok(page)) => Ok(page),
        Ok(Err(_)) => Err((StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made: this is a bug\n")),
        Err(_) => Err((StatusCode::GATEWAY_TIMEOUT, "the page took too long\n")),
    }
}

/// 200 if the configuration was applied, 422 if it has mistakes.
async fn reload(State(shown): State<Shown>) -> Response {
    // A task of its own: a client that goes away does not stop a reload half way.
    let asked = tokio::spawn((shown.state.reload)());
    match timeout(PAGE_TIMEOUT, asked).await {
        Ok(Ok(outcome)) => reload_response(outcome),
        Ok(Err(_)) => (StatusCode::INTERNAL_SERVER_ERROR, "the reload failed: this is a bug\n").into_response(),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "the reload takes long and goes on; see the log\n").into_response(),
    }
}

fn reload_response(outcome: ReloadOutcome) -> Response {
    let status = if outcome.applied { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    (status, Json(outcome)).into_response()
}
