//! `capture`: from the daemon into a pcapng file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use vtep_api::control::client::{Conversation, Heard};

use super::Exit;
use super::args::CaptureArgs;
use crate::capture::CaptureRow;
use crate::capture::pcapng::{Frame, Writer};
use crate::control::Request;
use crate::trace::hex;

/// What is said at the end.
#[derive(Default)]
struct Sum {
    /// Who captures beside us may want more of each frame.
    snaplen: usize,
    frames: u64,
    /// That would have made the file too large.
    beyond: u64,
    left_out: u64,
    lost: u64,
    not_taken: u64,
}

pub(super) fn capture(args: &CaptureArgs) -> Result<Exit> {
    let filter = args.filter();
    let snaplen = filter.snaplen;
    let conversation = Conversation::open(&args.socket, &Request::Capture { filter })?;
    on_interrupt(conversation.farewell()?)?;
    let mut end_of_room = Some(conversation.farewell()?);
    let mut writer = None;
    let mut sum = Sum { snaplen: snaplen as usize, ..Sum::default() };
    // Without an answer there is no file.
    let opened = |writer: &mut Option<Writer<Box<dyn Write>>>| -> io::Result<()> {
        if writer.is_none() {
            *writer = Some(Writer::new(output(&args.write)?, snaplen, args.bytes_max())?);
        }
        Ok(())
    };
    let mut unwritten = None;
    let heard = conversation.hear(|heard| {
        let row = match heard {
            Heard::Row(row) => Some(serde_json::from_value(row)?),
            Heard::Lost(rows) => {
                sum.not_taken += rows as u64;
                None
            }
        };
        let written = opened(&mut writer).and_then(|()| match (row, &mut writer) {
            (Some(row), Some(writer)) => sum.take(row, writer),
            _ => Ok(()),
        });
        if sum.beyond > 0
            && let Some(end) = end_of_room.take()
        {
            end();
        }
        written.map_err(|error| io::Error::from(unwritten.insert(error).kind()))
    });
    let cannot = || format!("{} cannot be written", args.write.display());
    if let Some(error) = unwritten {
        return Err(error).with_context(cannot);
    }
    heard?;
    opened(&mut writer).with_context(cannot)?;
    if let Some(writer) = &mut writer {
        writer.statistics(sum.missing(), &sum.remark())?;
    }
    if sum.beyond > 0 {
        eprintln!("{} is as large as it may be (--max-bytes)", args.write.display());
    }
    eprintln!("{} frames; {}", sum.frames, sum.remark());
    Ok(Exit::Ok)
}

impl Sum {
    fn take(&mut self, row: CaptureRow, writer: &mut Writer<Box<dyn Write>>) -> io::Result<()> {
        match row {
            CaptureRow::Counts { left_out, lost, .. } => {
                (self.left_out, self.lost) = (left_out, lost);
                Ok(())
            }
            CaptureRow::Frame(frame) => {
                let vni = frame.vni.map(|vni| format!(", VNI {vni}")).unwrap_or_default();
                let fate = if frame.drop { "dropped: " } else { "" };
                let mut bytes = hex(&frame.bytes).map_err(io::Error::other)?;
                bytes.truncate(self.snaplen);
                let frame = Frame {
                    at_ns: frame.at_ns,
                    interface: &frame.interface,
                    outbound: frame.outbound,
                    comment: &format!("{fate}{}{vni}", frame.verdict),
                    len: frame.len,
                    bytes: &bytes,
                };
                // What comes after the first that does not fit is left out, however small.
                let fits = self.beyond == 0 && writer.frame(&frame)?;
                *if fits { &mut self.frames } else { &mut self.beyond } += 1;
                Ok(())
            }
        }
    }

    fn missing(&self) -> u64 {
        self.left_out + self.lost + self.not_taken + self.beyond
    }

    fn remark(&self) -> String {
        format!(
            "{} left out by rate and sampling, {} found no room in the ring, {} came faster than they were written",
            self.left_out, self.lost, self.not_taken
        )
    }
}

fn output(path: &Path) -> io::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(File::create(path)?))
}

/// What is on its way still comes.
fn on_interrupt(farewell: impl FnOnce() + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            farewell();
        }
    });
    Ok(())
}
