//! The controller's gRPC side: agents attach, physical controllers join. Who a peer is says its certificate; what it
//! calls itself must be one of the certificate's names.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result as Outcome;
use futures_util::{Stream, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};
use vtep_api::grpc::{
    CONTROLLER, ControllerSession, PeerNames, Protection, VtepSession, controller_service, inquiry_service,
    require_tls, server, vtep_service,
};
use vtep_api::{ControllerName, FromLogical, FromPhysical, FromVtep, ToVtep};

use super::channel::{Channel, Kind, OfPhysical, OfVtep};
use super::cores::{Cores, Logicals};
use super::inquiries::Inquiries;
use super::logical;
use super::wire::{self, End};
use crate::config::Config;

/// By what a physical controller says whom it wants to join.
pub(super) const WANTED: &str = "vtepd-wanted-bin";
/// How long the last word to a peer waits for it.
const FAREWELL: Duration = Duration::from_secs(1);
/// After a connection that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A line of the log for so many of them.
const ACCEPT_TOLD: Duration = Duration::from_mins(1);

/// Ends only when it fails.
pub(super) type Serving = JoinHandle<Result<(), tonic::transport::Error>>;

/// Lets in the peers of the cores that there are.
pub(super) fn spawn(
    config: &Config,
    listener: TcpListener,
    cores: &Cores,
    inquiries: Option<Inquiries>,
) -> Outcome<Serving> {
    let address = config.listen.address;
    let allow_plaintext = config.controller.allow_plaintext;
    if require_tls(&address.ip().to_string(), config.tls.is_some(), allow_plaintext)? == Protection::Nothing {
        warn!(%address, "agents and controllers connect without TLS: anybody may be any of them");
    }
    let name = config.controller.name.clone();
    let vteps = cores.physical.clone().map(|core| {
        let whoever = move |_: Option<ControllerName>| Ok((name.clone(), core.clone()));
        vtep_service(Door::<OfVtep> { pick: Box::new(whoever) })
    });
    let controllers = cores.logicals.clone().map(|logicals| {
        let named = move |wanted| pick(&logicals.borrow(), wanted);
        controller_service(Door::<OfPhysical> { pick: Box::new(named) })
    });
    let router = server(config.tls.as_ref())?
        .add_optional_service(vteps)
        .add_optional_service(controllers)
        .add_optional_service(inquiries.map(inquiry_service));
    Ok(tokio::spawn(router.serve_with_incoming(connections(listener))))
}

/// The server itself asks its listener again at once, without a pause and without a word: a process that has no descriptor
/// left would spend a core on that.
fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold((listener, None::<Instant>), |(listener, mut told)| async move {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => return Some((Ok(connection), (listener, told))),
                Err(error) => {
                    if told.is_none_or(|at| at.elapsed() >= ACCEPT_TOLD) {
                        warn!(%error, "connections are not taken; it is tried again");
                        told = Some(Instant::now());
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// The logical controller that a physical one wants to join: whom it names, or the only one.
fn pick(
    logicals: &Logicals,
    wanted: Option<ControllerName>,
) -> Result<(ControllerName, mpsc::Sender<logical::Input>), Status> {
    let found = match &wanted {
        Some(name) => logicals.get_key_value(name),
        None => logicals.first_key_value().filter(|_| logicals.len() == 1),
    };
    let found = found.map(|(name, core)| (name.clone(), core.inputs.clone()));
    found.ok_or_else(|| match wanted {
        Some(name) => Status::unavailable(format!("{name} is not here")),
        None => Status::unavailable("there is not one logical controller here, and none was named"),
    })
}

type Replies<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Takes sessions of one kind.
pub(super) struct Door<K: Kind> {
    pick: Box<Pick<K>>,
}

/// Whose core a session is for, which may name whom it wants.
type Pick<K> = dyn Fn(Option<ControllerName>) -> Result<(ControllerName, mpsc::Sender<<K as Kind>::Input>), Status>
    + Send
    + Sync;

#[tonic::async_trait]
impl VtepSession for Door<OfVtep> {
    type AttachStream = Replies<ToVtep>;

    async fn attach(
        &self,
        request: Request<Streaming<FromVtep>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        self.open(request)
    }
}

#[tonic::async_trait]
impl ControllerSession for Door<OfPhysical> {
    type JoinStream = Replies<FromLogical>;

    async fn join(
        &self,
        request: Request<Streaming<FromPhysical>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        self.open(request)
    }
}

impl<K: Kind> Door<K> {
    /// Answers at once: a peer may wait for that before it says who it is.
    fn open(&self, request: Request<Streaming<K::In>>) -> Result<Response<Replies<K::Out>>, Status> {
        let from = request.remote_addr().map_or_else(|| "?".to_owned(), |address| address.to_string());
        let names = PeerNames::of(&request).map_err(|error| Status::permission_denied(error.to_string()))?;
        let wanted = request.metadata().get_bin(WANTED).and_then(|name| name.to_bytes().ok());
        let wanted =
            wanted.and_then(|name| ControllerName::try_from(String::from_utf8(name.to_vec()).ok()?).ok());
        let (name, core) = (self.pick)(wanted)?;
        let (wire, replies) = wire::handed_on();
        let caller = Caller::<K> { from, names, core };
        tokio::spawn(caller.serve(request.into_inner(), wire));
        let replies: Replies<K::Out> = Box::pin(ReceiverStream::new(replies));
        let mut response = Response::new(replies);
        response.metadata_mut().insert_bin(CONTROLLER, MetadataValue::from_bytes(name.as_str().as_bytes()));
        Ok(response)
    }
}

/// Somebody who has not said who he is.
struct Caller<K: Kind> {
    from: String,
    names: PeerNames,
    core: mpsc::Sender<K::Input>,
}

impl<K: Kind> Caller<K> {
    async fn serve(self, mut stream: Streaming<K::In>, wire: mpsc::Sender<Result<K::Out, Status>>) {
        let end = match self.hello(&mut stream).await {
            Ok((name, hello)) => {
                info!(%name, from = self.from, "a {} is connected", K::PEER);
                self.session(name, hello, &mut stream, &wire).await
            }
            Err(end) => {
                warn!(from = self.from, reason = %end, "a {} is refused", K::PEER);
                end
            }
        };
        if let Some(status) = end.status() {
            tokio::time::timeout(FAREWELL, wire.send(Err(status))).await.ok();
        }
    }

    async fn hello(&self, stream: &mut Streaming<K::In>) -> Result<(K::Name, K::In), End> {
        let hello = wire::next(stream).await?;
        let Some(name) = K::hello(&hello) else {
            return Err(End::Failed(Status::invalid_argument("the first message is no hello")));
        };
        let refused = |error: &dyn Display| End::Failed(Status::permission_denied(error.to_string()));
        self.names.check(&name.to_string()).map_err(|error| refused(&error))?;
        Ok((name, hello))
    }

    async fn session(
        &self,
        name: K::Name,
        hello: K::In,
        stream: &mut Streaming<K::In>,
        wire: &mpsc::Sender<Result<K::Out, Status>>,
    ) -> End {
        let Ok((channel, mut inbox)) = Channel::<K>::open(name.clone(), self.core.clone()).await else {
            return End::Gone;
        };
        let end = match channel.hand_on(hello).await {
            Ok(()) => wire::carry(&channel, stream, &mut inbox, wire).await,
            Err(gone) => gone.into(),
        };
        end.log(K::PEER, &name.to_string());
        // Without the core there is nobody to be told.
        channel.leave().await.ok();
        end
    }
}
