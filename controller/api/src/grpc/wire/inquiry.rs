use super::parts::{kind, name};
use super::{Malformed, Wire, proto, sealed};
use crate::grpc::wire::proto::answer::{self, Kind as Message};
use crate::{Answer, ErrorKind, Question, Refusal};

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
            Self::End { shards, refusals } => Message::End(answer::End {
                shards: shards.iter().copied().map(u32::from).collect(),
                refusals: refusals.iter().map(refusal_to_wire).collect(),
            }),
        };
        proto::Answer { kind: Some(kind) }
    }

    fn from_wire(message: proto::Answer) -> Result<Self, Malformed> {
        Ok(match kind("kind", message.kind, "rows or end")? {
            Message::Rows(rows) => Self::Rows(rows),
            Message::End(end) => Self::End {
                shards: shards("end.shards", &end.shards)?,
                refusals: end.refusals.into_iter().map(refusal).collect::<Result<_, _>>()?,
            },
        })
    }
}

fn refusal_to_wire(Refusal { shards, kind, message }: &Refusal) -> answer::Refusal {
    answer::Refusal {
        reason: error_kind_to_wire(*kind).into(),
        message: message.clone(),
        shards: shards.iter().copied().map(u32::from).collect(),
    }
}

fn refusal(refusal: answer::Refusal) -> Result<Refusal, Malformed> {
    Ok(Refusal {
        shards: shards("end.refusals.shards", &refusal.shards)?,
        kind: error_kind(refusal.reason)?,
        message: refusal.message,
    })
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
            Err(Malformed::value("end.refusals.reason", number, "1 to 4"))
        }
    }
}
