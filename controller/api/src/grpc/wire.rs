//! Our types as protocol buffers and back. What comes in is checked here, once.

mod controller;
mod inquiry;
mod parts;
mod table;
mod vtep;

#[cfg(test)]
mod tests;

use super::Malformed;

#[expect(clippy::pedantic, unreachable_pub, reason = "generated from proto/vtepd/v1")]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/vtepd.v1.rs"));
}

mod sealed {
    pub trait Sealed {}
}

/// A type that can be sent.
pub trait Wire: sealed::Sealed + Sized {
    #[doc(hidden)]
    type Message: prost::Message + Default;

    #[doc(hidden)]
    fn to_wire(&self) -> Self::Message;

    #[doc(hidden)]
    fn from_wire(message: Self::Message) -> Result<Self, Malformed>;
}
