//! `/api/…`: what the gateway answers in JSON. What is asked is looked up elsewhere; this carries questions and answers.
//!
//! Over TCP it can only be asked, by `GET`. What changes something or tells secrets is a `POST`, and those are answered on the control
//! socket alone: a page in somebody's browser can reach a port of loopback, and no file.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};

/// A question's body, at most.
const MAX_BODY: usize = 1 << 20;

/// What somebody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The path below `/api/`.
    pub path: String,
    /// It may change something: it came by `POST` through the control socket.
    pub is_order: bool,
    /// What came with it.
    pub body: Bytes,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Reply {
    /// It is so.
    pub fn good(body: Value) -> Reply {
        Reply { status: 200, body }
    }

    /// It can't be answered; `why` is a sentence for whoever asked.
    pub fn refused(status: u16, why: impl Into<String>) -> Reply {
        Reply { status, body: json!({ "error": why.into() }) }
    }

    /// Nothing is asked or ordered by this name.
    pub fn unknown(path: &str) -> Reply {
        Reply::refused(404, format!("this version has nothing at /api/{path}"))
    }
}

/// Answers questions; it must be quick, or bound itself.
pub type Answerer = Arc<dyn Fn(Question) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// The addresses below `/api/`. With `takes_orders`, for the control socket, `POST` is answered too.
pub(super) fn router(answerer: Answerer, takes_orders: bool) -> Router {
    let methods: MethodRouter<Answerer> = if takes_orders { get(ask).post(order) } else { get(ask) };
    Router::new().route("/api/{*path}", methods).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(answerer)
}

async fn ask(State(answerer): State<Answerer>, Path(path): Path<String>) -> Response {
    answer(answerer(Question { path, is_order: false, body: Bytes::new() }).await)
}

async fn order(State(answerer): State<Answerer>, Path(path): Path<String>, body: Bytes) -> Response {
    answer(answerer(Question { path, is_order: true, body }).await)
}

fn answer(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, format!("{}\n", reply.body)).into_response()
}
