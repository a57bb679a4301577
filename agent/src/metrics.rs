//! `/metrics` in the OpenMetrics text format, `/livez` and `/readyz`. Every scrape asks the daemon, which reads the
//! counters from the kernel then.

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
use crate::control::view::Scrape;

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
    let Some(scrape) = scrape(&asks).await else { return stuck() };
    match exposition::encode(*scrape) {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn livez(State(asks): State<mpsc::Sender<Ask>>) -> Response {
    match scrape(&asks).await {
        Some(_) => "ok\n".into_response(),
        None => stuck(),
    }
}

async fn readyz(State(asks): State<mpsc::Sender<Ask>>) -> Response {
    match scrape(&asks).await {
        Some(scrape) if scrape.status.ready => "ok\n".into_response(),
        Some(scrape) => {
            let waits = scrape.status.waits_for.join("\nwaits for ");
            (StatusCode::SERVICE_UNAVAILABLE, format!("waits for {waits}\n")).into_response()
        }
        None => stuck(),
    }
}

async fn scrape(asks: &mpsc::Sender<Ask>) -> Option<Box<Scrape>> {
    let (reply, answered) = oneshot::channel();
    let asked = async {
        asks.send(Ask::Scrape(reply)).await.ok()?;
        answered.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

fn stuck() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent does not answer\n").into_response()
}
