//! What no peer of ours would say.

use bytes::{Buf, BufMut};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use vtep_api::grpc::encode;
use vtep_api::{FromVtep, PROTOCOL, ToVtep};

use super::peers::{HOSTS, Session, connect, hello, inside};
use super::rig::Site;

/// Whatever octets there are.
#[derive(Default)]
struct Octets;

impl Codec for Octets {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Octets {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, octets: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&octets);
        Ok(())
    }
}

impl Decoder for Octets {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let octets = buffer.copy_to_bytes(buffer.remaining());
        Ok(Some(octets.to_vec()))
    }
}

struct Raw {
    say: mpsc::Sender<Vec<u8>>,
    heard: Streaming<Vec<u8>>,
}

impl Raw {
    async fn open(channel: Channel) -> Self {
        let (say, said) = mpsc::channel(8);
        let mut client = Grpc::new(channel);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/vtepd.v1.VtepSession/Attach");
        let answer = client.streaming(Request::new(ReceiverStream::new(said)), path, Octets).await.unwrap();
        Self { say, heard: answer.into_inner() }
    }

    async fn end(&mut self) -> Status {
        loop {
            match self.heard.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a reason"),
                Err(status) => return status,
            }
        }
    }
}

#[test]
fn a_malformed_message_ends_its_session_with_a_reason_and_no_other() {
    let declared = format!("{HOSTS}[[vtep]]\nname = \"hv2\"\n[[vtep]]\nname = \"hv3\"\n");
    let site = Site::new(&declared).unwrap();
    let reasons = inside(&site, async || {
        let channel = connect("http://127.0.0.1:9480", None).await;
        let mut polite = Session::open(channel.clone()).await;
        polite.say(hello(PROTOCOL, "hv1")).await;
        let (mut noise, mut no_name) = (Raw::open(channel.clone()).await, Raw::open(channel.clone()).await);
        for (session, name) in [(&mut noise, "hv2"), (&mut no_name, "hv3")] {
            session.say.send(encode(&hello(PROTOCOL, name))).await.unwrap();
            // It is welcome so far.
            session.heard.message().await.unwrap().unwrap();
        }
        noise.say.send(vec![0xff; 64]).await.unwrap();
        // A network's name with a line end in it.
        let asked = encode(&FromVtep::Resync { logical_switch: "ls0-ls0".parse().unwrap() });
        let garbled = asked.iter().map(|octet| if *octet == b'-' { b'\n' } else { *octet }).collect();
        no_name.say.send(garbled).await.unwrap();
        let reasons = [noise.end().await, no_name.end().await];
        // The first session was not touched: it is the one that is still known, and hears what is new.
        site.controller
            .apply(&format!("{declared}[[subscription]]\nvtep = \"hv1\"\nlogical_switch = \"ls0\"\n"))
            .unwrap();
        loop {
            let Some(ToVtep::Outline(outline)) = polite.hear().await.unwrap() else { continue };
            if !outline.networks.is_empty() {
                break;
            }
        }
        // And whoever spoke badly may begin anew.
        let mut again = Session::open(channel).await;
        again.say(hello(PROTOCOL, "hv2")).await;
        assert!(matches!(again.hear().await, Ok(Some(ToVtep::Welcome { .. }))));
        reasons
    });
    let [noise, no_name] = reasons.map(|status| status.message().to_owned());
    assert!(noise.contains("malformed message"), "{noise}");
    assert!(no_name.contains("malformed message") && no_name.contains("logical_switch"), "{no_name}");
}
