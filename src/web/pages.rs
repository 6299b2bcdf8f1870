//! Which address answers what.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;

use crate::model::Snapshot;

use super::{metrics, readiness};

/// Gives the gateway's present state.
pub type Source = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// The pages. `GET` routes answer `HEAD` too.
pub fn router(source: Source) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(source)
}

const PAGES: &str = "\
/healthz  is the program alive and does every part make progress?
/readyz   has every bus and uplink had its first try?
/metrics  figures for Prometheus
/api/status  how everything is doing, as JSON
";

/// For whoever has just installed it.
const NEXT_STEPS: &str = "\
It runs, serves MQTT, and reads no device yet. What to do next:

1. Write your first device into the configuration, /etc/fieldway/gateway.yaml unless you named another file.
   It has a device in comments, /usr/share/doc/fieldway/examples has whole files,
   `fieldway templates` lists the devices whose points need no manual, and `fieldway scan` finds who is on a line.
2. fieldway check                            says what is wrong with it, line by line.
3. sudo systemctl reload fieldway            takes it; systemctl status fieldway says how it goes.
4. mosquitto_sub -v -t 'fieldway/#'          shows the readings.

man gateway.yaml has every key.

";

async fn index(State(source): State<Source>) -> Response {
    let Snapshot { gateway, version, buses, .. } = source();
    let next = if buses.iter().all(|bus| bus.devices.is_empty()) { NEXT_STEPS } else { "" };
    text(StatusCode::OK, format!("Fieldway {version}, gateway {gateway}\n\n{next}{PAGES}"))
}

async fn healthz(State(source): State<Source>) -> Response {
    let (healthy, body) = readiness::health(&source());
    json(healthy, &body)
}

async fn readyz(State(source): State<Source>) -> Response {
    let (ready, body) = readiness::readiness(&source());
    json(ready, &body)
}

async fn scrape(State(source): State<Source>) -> Response {
    let headers = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, metrics::render(source())).into_response()
}

async fn unknown(uri: Uri) -> Response {
    // Headers bound what a client can make us repeat; the path alone is what it asked for.
    text(StatusCode::NOT_FOUND, format!("There is nothing at {}. What is here:\n\n{PAGES}", uri.path()))
}

async fn wrong_method() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "These pages can only be read: use GET or HEAD.\n".into())
}

fn text(status: StatusCode, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

fn json(good: bool, body: &Value) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, format!("{body}\n")).into_response()
}
