//! `/metrics` in the OpenMetrics text format, `/livez` and `/readyz`. Every scrape asks the daemon, which reads the
//! counters from the kernel then; the probes ask it only whether it answers and is ready.

mod exposition;

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

use crate::config;
use crate::control::Ask;

/// A daemon that answers later than this is stuck, and a load balancer should know.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until the runtime ends. `None`: it is switched off.
pub async fn serve(settings: &config::Metrics, asks: mpsc::Sender<Ask>) -> io::Result<Option<SocketAddr>> {
    if !settings.enabled {
        return Ok(None);
    }
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(asks);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Some(address))
}

async fn metrics(State(asks): State<mpsc::Sender<Ask>>) -> Response {
    let Some(scrape) = asked(&asks, Ask::Scrape).await else { return stuck() };
    match exposition::encode(*scrape) {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn livez(State(asks): State<mpsc::Sender<Ask>>) -> Response {
    match asked(&asks, Ask::Waits).await {
        Some(_) => "ok\n".into_response(),
        None => stuck(),
    }
}

async fn readyz(State(asks): State<mpsc::Sender<Ask>>) -> Response {
    match asked(&asks, Ask::Waits).await {
        Some(waits) if waits.is_empty() => "ok\n".into_response(),
        Some(waits) => {
            let waits = waits.join("\nwaits for ");
            (StatusCode::SERVICE_UNAVAILABLE, format!("waits for {waits}\n")).into_response()
        }
        None => stuck(),
    }
}

async fn asked<T>(asks: &mpsc::Sender<Ask>, question: fn(oneshot::Sender<T>) -> Ask) -> Option<T> {
    let (reply, answered) = oneshot::channel();
    let asked = async {
        asks.send(question(reply)).await.ok()?;
        answered.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

fn stuck() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent does not answer\n").into_response()
}
