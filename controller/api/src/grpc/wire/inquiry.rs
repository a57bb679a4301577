use super::parts::{kind, name};
use super::{Malformed, Wire, proto, sealed};
use crate::grpc::wire::proto::answer::{self, Kind as Message};
use crate::{Answer, ErrorKind, Question};

impl sealed::Sealed for Question {}

impl Wire for Question {
    type Message = proto::Question;

    fn to_wire(&self) -> proto::Question {
        proto::Question {
            controller: self.from.to_string(),
            request: self.request.clone(),
            shards: self.shards.iter().copied().map(u32::from).collect(),
        }
    }

    fn from_wire(message: proto::Question) -> Result<Self, Malformed> {
        Ok(Self {
            from: name("controller", &message.controller)?,
            request: message.request,
            shards: shards("shards", &message.shards)?,
        })
    }
}

impl sealed::Sealed for Answer {}

impl Wire for Answer {
    type Message = proto::Answer;

    fn to_wire(&self) -> proto::Answer {
        let kind = match self {
            Self::Rows(rows) => Message::Rows(rows.clone()),
            Self::End { shards, refusal } => Message::End(answer::End {
                shards: shards.iter().copied().map(u32::from).collect(),
                refusal: refusal.as_ref().map(|(kind, message)| answer::Refusal {
                    reason: error_kind_to_wire(*kind).into(),
                    message: message.clone(),
                }),
            }),
        };
        proto::Answer { kind: Some(kind) }
    }

    fn from_wire(message: proto::Answer) -> Result<Self, Malformed> {
        Ok(match kind("kind", message.kind, "rows or end")? {
            Message::Rows(rows) => Self::Rows(rows),
            Message::End(end) => Self::End {
                shards: shards("end.shards", &end.shards)?,
                refusal: end.refusal.map(refusal).transpose()?,
            },
        })
    }
}

fn refusal(refusal: answer::Refusal) -> Result<(ErrorKind, String), Malformed> {
    Ok((error_kind(refusal.reason)?, refusal.message))
}

fn shards(field: &'static str, numbers: &[u32]) -> Result<Vec<u16>, Malformed> {
    let shard =
        |number: &u32| u16::try_from(*number).map_err(|_| Malformed::value(field, number, "0 to 65535"));
    numbers.iter().map(shard).collect()
}

fn error_kind_to_wire(kind: ErrorKind) -> answer::Reason {
    match kind {
        ErrorKind::Usage => answer::Reason::Usage,
        ErrorKind::NotFound => answer::Reason::NotFound,
        ErrorKind::Failed => answer::Reason::Failed,
        ErrorKind::Incomplete => answer::Reason::Incomplete,
    }
}

fn error_kind(number: i32) -> Result<ErrorKind, Malformed> {
    match answer::Reason::try_from(number) {
        Ok(answer::Reason::Usage) => Ok(ErrorKind::Usage),
        Ok(answer::Reason::NotFound) => Ok(ErrorKind::NotFound),
        Ok(answer::Reason::Failed) => Ok(ErrorKind::Failed),
        Ok(answer::Reason::Incomplete) => Ok(ErrorKind::Incomplete),
        Ok(answer::Reason::Unspecified) | Err(_) => {
            Err(Malformed::value("end.refusal.reason", number, "1 to 4"))
        }
    }
}
