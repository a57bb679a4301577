//! `/metrics`, `/livez` and `/readyz` over HTTP. Every request asks the daemon's task; the probes ask it only whether it
//! answers and is ready.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::exposition::CONTENT_TYPE;
use super::listen::Metrics;

/// A daemon that answers later than this is stuck, and a load balancer should know.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the daemon's task takes, the questions of probes among it.
pub trait Probed: Send + 'static {
    /// As messages call the daemon.
    const DAEMON: &'static str;
    type Scrape: Send + 'static;

    fn scrape(reply: oneshot::Sender<Self::Scrape>) -> Self;
    /// What is missing before it is ready; nothing, when it is.
    fn waits(reply: oneshot::Sender<Vec<String>>) -> Self;
    fn encode(scrape: Self::Scrape) -> Result<String, fmt::Error>;
}

/// Serves until the runtime ends. `None`: it is switched off.
pub async fn serve<A: Probed, const PORT: u16>(
    settings: &Metrics<PORT>,
    asks: mpsc::Sender<A>,
) -> io::Result<Option<SocketAddr>> {
    if !settings.enabled {
        return Ok(None);
    }
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(metrics::<A>))
        .route("/livez", get(livez::<A>))
        .route("/readyz", get(readyz::<A>))
        .with_state(asks);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Some(address))
}

async fn metrics<A: Probed>(State(asks): State<mpsc::Sender<A>>) -> Response {
    let Some(scrape) = asked(&asks, A::scrape).await else { return stuck::<A>() };
    match A::encode(scrape) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn livez<A: Probed>(State(asks): State<mpsc::Sender<A>>) -> Response {
    match asked(&asks, A::waits).await {
        Some(_) => "ok\n".into_response(),
        None => stuck::<A>(),
    }
}

async fn readyz<A: Probed>(State(asks): State<mpsc::Sender<A>>) -> Response {
    match asked(&asks, A::waits).await {
        Some(waits) if waits.is_empty() => "ok\n".into_response(),
        Some(waits) => {
            let waits = waits.join("\nwaits for ");
            (StatusCode::SERVICE_UNAVAILABLE, format!("waits for {waits}\n")).into_response()
        }
        None => stuck::<A>(),
    }
}

async fn asked<A: Probed, T>(asks: &mpsc::Sender<A>, question: fn(oneshot::Sender<T>) -> A) -> Option<T> {
    let (reply, answered) = oneshot::channel();
    let asked = async {
        asks.send(question(reply)).await.ok()?;
        answered.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

fn stuck<A: Probed>() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("the {} does not answer\n", A::DAEMON)).into_response()
}
