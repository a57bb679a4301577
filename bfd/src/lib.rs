//! Bidirectional Forwarding Detection: the control packet ([`Packet`], RFC 5880 §4.1), how it travels ([`Transport`]:
//! RFC 5881, RFC 5883, and inside VXLAN as Open vSwitch does it), the session ([`Session`], RFC 5880 §6), what its
//! ups and downs are worth to whoever forwards ([`Standing`]), and when fewer packets do ([`Decay`]).
//!
//! No I/O, no clock, no source of randomness: time and a seed come in as arguments. Asynchronous mode only: demand mode
//! and echo are refused, and so is authentication, of which we do none.

#![forbid(unsafe_code)]

mod decay;
mod packet;
mod session;
mod standing;
mod timing;
mod transport;
mod vxlan;

pub use decay::Decay;
pub use packet::{Diagnostic, Packet, PacketError, State};
pub use session::{Action, Adopted, Event, Refusal, Session};
pub use standing::{Holding, Standing};
pub use timing::{Parameters, ParametersError};
pub use transport::{MULTI_HOP_PORT, SINGLE_HOP_PORT, SOURCE_PORTS, Transport, TransportError};
pub use vxlan::{Inner, InnerError};
