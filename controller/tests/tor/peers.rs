//! Who may speak to a controller over gRPC.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use vtep_api::grpc::{endpoint, vtep_client};
use vtep_api::{FromVtep, PROTOCOL, Term, ToVtep, VtepName};
use vtep_tests::pki::{Pki, TlsFiles};

use super::rig::Site;

pub(super) const HOSTS: &str =
    "version = 1\n[[vtep]]\nname = \"hv1\"\n[[logical_switch]]\nname = \"ls0\"\nvni = 5000\n";

pub(super) fn hello(protocol: u32, name: &str) -> FromVtep {
    FromVtep::Hello { protocol, name: VtepName::try_from(name).unwrap(), term: Term(0), tables: Vec::new() }
}

/// An agent's session, from inside the controller's namespace.
pub(super) struct Session {
    say: mpsc::Sender<FromVtep>,
    heard: Streaming<ToVtep>,
}

impl Session {
    pub(super) async fn open(channel: Channel) -> Self {
        let (say, said) = mpsc::channel(8);
        let answer = vtep_client(channel).attach(ReceiverStream::new(said)).await.unwrap();
        Self { say, heard: answer.into_inner() }
    }

    pub(super) async fn say(&self, message: FromVtep) {
        self.say.send(message).await.unwrap();
    }

    pub(super) async fn hear(&mut self) -> Result<Option<ToVtep>, Status> {
        self.heard.message().await
    }

    /// Until the controller ends it.
    pub(super) async fn end(&mut self) -> Status {
        loop {
            match self.hear().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a reason"),
                Err(status) => return status,
            }
        }
    }
}

/// Runs a conversation inside the namespace.
pub(super) fn inside<T: Send>(site: &Site, conversation: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || {
        // What was said is carried while the conversation waits for somebody else.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(conversation())
    };
    site.netns.within(run).unwrap()
}

pub(super) async fn connect(address: &str, tls: Option<&vtep_api::grpc::TlsFiles>) -> Channel {
    endpoint(address, tls).unwrap().connect().await.unwrap()
}

#[test]
fn an_agent_of_another_protocol_version_is_refused_and_told_both() {
    let site = Site::new(HOSTS).unwrap();
    let status = inside(&site, async || {
        let mut session = Session::open(connect("http://127.0.0.1:9480", None).await).await;
        session.say(hello(PROTOCOL + 1, "hv1")).await;
        session.end().await
    });
    let told = [PROTOCOL + 1, PROTOCOL].iter().all(|version| status.message().contains(&version.to_string()));
    assert!(told, "{status:?}");
}

#[test]
fn a_first_message_that_is_no_hello_ends_that_session_only() {
    let site = Site::new(HOSTS).unwrap();
    let (status, welcome) = inside(&site, async || {
        let channel = connect("http://127.0.0.1:9480", None).await;
        let mut rude = Session::open(channel.clone()).await;
        let mut polite = Session::open(channel).await;
        polite.say(hello(PROTOCOL, "hv1")).await;
        rude.say(FromVtep::Heartbeat { wall_ms: 0 }).await;
        (rude.end().await, polite.hear().await)
    });
    assert_eq!(status.message(), "the first message is no hello");
    assert!(matches!(welcome, Ok(Some(ToVtep::Welcome { protocol: PROTOCOL, .. }))), "{welcome:?}");
}

#[test]
fn a_vtep_that_is_not_declared_is_told_so() {
    let site = Site::new(HOSTS).unwrap();
    let status = inside(&site, async || {
        let mut session = Session::open(connect("http://127.0.0.1:9480", None).await).await;
        session.say(hello(PROTOCOL, "stranger")).await;
        session.end().await
    });
    assert!(status.message().contains("no logical controller declares it"), "{status:?}");
}

#[test]
fn a_certificate_is_who_the_peer_is() {
    let pki = Pki::new().unwrap();
    let (controller, agent) = (pki.issue_at("c1", [127, 0, 0, 1]), pki.issue("hv1"));
    let (controller, agent) = (controller.unwrap(), agent.unwrap());
    let section = format!("\n[tls]\n{}\n", controller.lines());
    let site = Site::edited(HOSTS, |text| text + &section).unwrap();
    let files = files(&agent);
    let (welcome, status) = inside(&site, async || {
        let channel = connect("https://127.0.0.1:9480", Some(&files)).await;
        let mut true_name = Session::open(channel.clone()).await;
        true_name.say(hello(PROTOCOL, "hv1")).await;
        let mut false_name = Session::open(channel).await;
        false_name.say(hello(PROTOCOL, "hv2")).await;
        (true_name.hear().await, false_name.end().await)
    });
    assert!(matches!(welcome, Ok(Some(ToVtep::Welcome { .. }))), "{welcome:?}");
    assert!(status.message().contains("hv1") && status.message().contains("hv2"), "{status:?}");
    let plain = inside(&site, async || {
        let channel = connect("http://127.0.0.1:9480", None).await;
        let (_say, said) = mpsc::channel::<FromVtep>(1);
        vtep_client(channel).attach(ReceiverStream::new(said)).await.is_err()
    });
    assert!(plain, "plaintext was let in");
}

fn files(files: &TlsFiles) -> vtep_api::grpc::TlsFiles {
    let TlsFiles { private_key, certificate, ca_certificate } = files.clone();
    vtep_api::grpc::TlsFiles { private_key, certificate, ca_certificate }
}
