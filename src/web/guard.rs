//! Who may read the pages where others than this machine can reach them: HTTP basic authentication (RFC 7617).

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Says whether somebody has a right password: the peer, the name, the password.
pub type Guard = Arc<dyn Fn(SocketAddr, String, String) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// Asks `guard` before anything is answered.
pub(super) async fn ask(
    State(guard): State<Guard>,
    Extension(peer): Extension<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if let Some((name, password)) = login(&request)
        && guard(peer, name, password).await
    {
        return next.run(request).await;
    }
    let headers = [
        (header::WWW_AUTHENTICATE, "Basic realm=\"Fieldway\", charset=\"UTF-8\""),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (StatusCode::UNAUTHORIZED, headers, "Log in as one of the broker's users.\n").into_response()
}

fn login(request: &Request) -> Option<(String, String)> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, text) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    text.split_once(':').map(|(name, password)| (name.into(), password.into()))
}
