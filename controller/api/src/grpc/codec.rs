use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::{Malformed, Wire};

/// Of one message. A part of an update with `ROWS_MAX` rows has far less.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A message as protocol buffer.
pub fn encode(message: &impl Wire) -> Vec<u8> {
    message.to_wire().encode_to_vec()
}

/// The message that a protocol buffer holds.
pub fn decode<T: Wire>(octets: &[u8]) -> Result<T, Malformed> {
    T::from_wire(T::Message::decode(octets)?)
}

/// Sends `E` and takes `D`.
#[derive(Debug)]
pub(crate) struct Messages<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for Messages<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: Wire + Send + 'static, D: Wire + Send + 'static> Codec for Messages<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = Half<E>;
    type Decoder = Half<D>;

    fn encoder(&mut self) -> Half<E> {
        Half(PhantomData)
    }

    fn decoder(&mut self) -> Half<D> {
        Half(PhantomData)
    }
}

#[derive(Debug)]
pub(crate) struct Half<T>(PhantomData<T>);

impl<T: Wire> Encoder for Half<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let message = message.to_wire();
        let failed = |error: prost::EncodeError| Status::internal(error.to_string());
        message.encode(buffer).map_err(failed)
    }
}

impl<T: Wire> Decoder for Half<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        let refused =
            |error: Malformed| Status::invalid_argument(format!("malformed message: {}", error.chain()));
        let message = T::Message::decode(buffer).map_err(|error| refused(error.into()))?;
        T::from_wire(message).map(Some).map_err(refused)
    }
}
