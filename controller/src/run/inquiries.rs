//! What other members of the cluster ask on behalf of an operator. It is answered out of what this process has itself, and
//! nobody else is asked for it.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use tracing::warn;
use vtep_api::control::Broken;
use vtep_api::grpc::{CONTROLLER, Inquiry, PeerNames};
use vtep_api::{Answer, ControllerName, ErrorKind, Question};

use crate::cluster::Standing;
use crate::control::Ask;
use crate::control::merge::{Ended, Order, Sink, merge};
use crate::control::own::Parts;

/// That are answered at a time.
const INQUIRIES_MAX: usize = 32;
/// Pieces of an answer that wait for the transport.
const PIECES_MAX: usize = 1;
const PIECE_BYTES: usize = 64 * 1024;

/// Takes questions of other members.
pub(super) struct Inquiries {
    own: ControllerName,
    asks: mpsc::Sender<Ask>,
    standing: watch::Receiver<Standing>,
    places: Arc<Semaphore>,
}

type Answers = mpsc::Sender<Result<Answer, Status>>;

impl Inquiries {
    pub(super) fn new(
        own: ControllerName,
        asks: mpsc::Sender<Ask>,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Self { own, asks, standing, places: Arc::new(Semaphore::new(INQUIRIES_MAX)) }
    }

    /// Only who is a member, and shows it by his certificate, may ask.
    fn check(&self, names: &PeerNames, from: &ControllerName) -> Result<OwnedSemaphorePermit, Status> {
        let denied = |reason: String| {
            warn!(%from, reason, "a question of another controller is refused");
            Status::permission_denied(reason)
        };
        names.check(from.as_str()).map_err(|error| denied(error.to_string()))?;
        if !self.standing.borrow().view.members.contains_key(from) {
            return Err(denied(format!("{from} is no member of the cluster")));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| {
            Status::resource_exhausted(format!("it answers {INQUIRIES_MAX} questions of others already"))
        })
    }
}

#[tonic::async_trait]
impl Inquiry for Inquiries {
    type AskStream = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

    /// Answers at once: the rest may take its time.
    async fn ask(&self, request: Request<Question>) -> Result<Response<Self::AskStream>, Status> {
        let names = PeerNames::of(&request).map_err(|error| Status::permission_denied(error.to_string()))?;
        let Question { from, request, mut shards } = request.into_inner();
        shards.sort_unstable();
        shards.dedup();
        let place = self.check(&names, &from)?;
        let request = serde_json::from_slice(&request)
            .map_err(|error| Status::invalid_argument(format!("the request is not understood: {error}")))?;
        let (answers, taken) = mpsc::channel(PIECES_MAX);
        let asks = self.asks.clone();
        tokio::spawn(async move {
            // Who asked may have gone.
            answer(request, shards, &asks, answers).await.ok();
            drop(place);
        });
        let taken: Self::AskStream = Box::pin(ReceiverStream::new(taken));
        let mut response = Response::new(taken);
        let own = MetadataValue::from_bytes(self.own.as_str().as_bytes());
        response.metadata_mut().insert_bin(CONTROLLER, own);
        Ok(response)
    }
}

async fn answer(
    request: crate::control::Request,
    shards: Vec<u16>,
    asks: &mpsc::Sender<Ask>,
    answers: Answers,
) -> Result<(), Broken> {
    let order = Order::of(&request);
    let (reply, own) = oneshot::channel();
    let asked = asks.send(Ask::Member { request, shards, reply }).await;
    let own = match asked {
        Ok(()) => own.await.ok(),
        Err(_) => None,
    };
    let own = own.unwrap_or_else(|| Err("the controller is stopping".to_owned()));
    let Parts { mut sources, mut refusals } = match own {
        Ok(own) => own.into_parts(),
        Err(reason) => return send(&answers, Err(Status::unavailable(reason))).await,
    };
    let mut pieces = Pieces { answers, rows: Vec::new() };
    merge(&mut sources, order, &mut pieces).await?;
    pieces.flush().await?;
    let mut shards = Vec::new();
    for source in sources {
        match source.end() {
            Ended::Here { shard, failed: Some(reason) } => refusals.add(shard, ErrorKind::Failed, reason),
            Ended::Here { shard, failed: None } => shards.extend(shard),
            Ended::There { .. } => {}
        }
    }
    send(&pieces.answers, Ok(Answer::End { shards, refusals: refusals.into_vec() })).await
}

async fn send(answers: &Answers, answer: Result<Answer, Status>) -> Result<(), Broken> {
    answers.send(answer).await.map_err(|_| Broken)
}

struct Pieces {
    answers: Answers,
    rows: Vec<u8>,
}

impl Sink for Pieces {
    async fn row(&mut self, row: &[u8]) -> Result<(), Broken> {
        self.rows.extend_from_slice(row);
        self.rows.push(b'\n');
        if self.rows.len() >= PIECE_BYTES {
            return self.flush().await;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        if self.rows.is_empty() {
            return Ok(());
        }
        send(&self.answers, Ok(Answer::Rows(std::mem::take(&mut self.rows)))).await
    }
}
