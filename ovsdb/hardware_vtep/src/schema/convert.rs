use ovsdb::{Handle, RequestError};

use super::{ExtendError, extend};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converted {
    /// Its rows were kept.
    Now,
    /// There was nothing to do.
    Before,
}

#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error("the database's schema cannot be extended")]
    Extend(#[from] ExtendError),
    #[error("the server does not tell the database's schema")]
    Schema(#[source] RequestError),
    #[error("the server does not convert the database")]
    Convert(#[source] RequestError),
}

/// Extends the schema of a session's database where it stands, from whatever it is. The task that awaits this must not
/// be one that has stopped receiving events.
pub async fn convert(handle: &Handle) -> Result<Converted, ConvertError> {
    let schema = handle.schema_text().await.map_err(ConvertError::Schema)?;
    match extend(&schema) {
        Ok(extended) => {
            handle.convert(&extended).await.map_err(ConvertError::Convert)?;
            Ok(Converted::Now)
        }
        Err(ExtendError::Extended { .. }) => Ok(Converted::Before),
        Err(error) => Err(error.into()),
    }
}
