//! The sessions over gRPC (`proto/vtepd/v1`). The services speak our own types: what arrives is checked while it is
//! decoded, and a malformed message ends the session that it came in, nothing else.

mod codec;
mod malformed;
mod peer_name;
mod transport;
mod wire;

#[expect(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated from the service declarations in build.rs"
)]
mod services {
    include!(concat!(env!("OUT_DIR"), "/vtepd.v1.VtepSession.rs"));
    include!(concat!(env!("OUT_DIR"), "/vtepd.v1.ControllerSession.rs"));
    include!(concat!(env!("OUT_DIR"), "/vtepd.v1.Inquiry.rs"));
}

/// Response metadata: by what a controller tells who it is, before its first message.
pub const CONTROLLER: &str = "vtepd-controller-bin";

pub use codec::{MESSAGE_BYTES_MAX, decode, encode};
pub use malformed::Malformed;
pub use peer_name::{PeerNameError, PeerNames};
pub use services::controller_session_client::ControllerSessionClient;
pub use services::controller_session_server::{ControllerSession, ControllerSessionServer};
pub use services::inquiry_client::InquiryClient;
pub use services::inquiry_server::{Inquiry, InquiryServer};
pub use services::vtep_session_client::VtepSessionClient;
pub use services::vtep_session_server::{VtepSession, VtepSessionServer};
pub use transport::{
    PlaintextError, Protection, TlsFiles, TransportError, controller_client, controller_service, endpoint,
    inquiry_client, inquiry_service, require_tls, server, vtep_client, vtep_service,
};
pub use wire::Wire;
