//! How commands print what a daemon answered, and how they end: exit codes 0 ok, 1 error, 2 usage, 3 not found,
//! 4 daemon not reachable, 5 check failed, 6 part of the answer is missing.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use comfy_table::presets::NOTHING;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::{self, ClientError, Conversation, Heard};
use super::{ErrorKind, Request};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    NotFound = 3,
    Unreachable = 4,
    CheckFailed = 5,
    Incomplete = 6,
}

impl Exit {
    /// Of the errors from a command's own to the first cause.
    pub fn of<'a>(chain: impl IntoIterator<Item = &'a (dyn Error + 'static)>) -> Self {
        let mut exit = Self::Error;
        for error in chain {
            match error.downcast_ref::<ClientError>() {
                Some(ClientError::Connection { .. }) => return Self::Error,
                Some(ClientError::Unreachable { .. }) => return Self::Unreachable,
                Some(ClientError::Refused { kind: ErrorKind::NotFound, .. }) => exit = Self::NotFound,
                Some(ClientError::Refused { kind: ErrorKind::Usage, .. }) => exit = Self::Usage,
                Some(ClientError::Incomplete { .. }) => exit = Self::Incomplete,
                _ => {}
            }
            // Whoever read our output has enough.
            let broken = error.downcast_ref::<io::Error>();
            if broken.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return Self::Ok;
            }
        }
        exit
    }
}

/// Standard output, in large pieces.
pub fn output() -> io::BufWriter<impl Write> {
    io::BufWriter::with_capacity(64 * 1024, anstream::stdout())
}

/// Rows of a table that is small enough to be laid out as a whole.
pub trait Table {
    const HEADER: &[&str];

    fn cells(&self) -> Vec<String>;
}

/// In columns as wide as they need.
pub fn table<T: Table>(rows: &[T]) -> impl fmt::Display {
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING).set_header(T::HEADER);
    table.add_rows(rows.iter().map(Table::cells));
    table
}

/// One command's conversation.
#[derive(Debug, Clone, Copy)]
pub struct Terminal<'a> {
    pub socket: &'a Path,
    pub json: bool,
}

impl Terminal<'_> {
    /// Exactly one row.
    pub fn one<T: DeserializeOwned>(
        &self,
        request: &impl Request,
        render: impl FnOnce(&mut dyn Write, &T) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let (mut rows, missing) = self.rows_and_missing(request)?;
        let Some(row) = rows.pop() else {
            return Err(missing.unwrap_or_else(|| nothing(request)));
        };
        let mut out = output();
        let printed = if self.json {
            json(&mut out, &row)
        } else {
            serde_json::from_value(row).map_err(io::Error::from).and_then(|row| render(&mut out, &row))
        };
        printed.and_then(|()| out.flush()).map_err(ClientError::Output)?;
        missing.map_or(Ok(()), Err)
    }

    /// Exactly one row, not printed.
    pub fn row<T: DeserializeOwned, R: Request>(&self, request: &R) -> Result<T, ClientError> {
        self.rows(request)?.pop().ok_or_else(|| nothing(request))
    }

    /// Not printed.
    pub fn rows<T: DeserializeOwned>(&self, request: &impl Request) -> Result<Vec<T>, ClientError> {
        match self.rows_and_missing(request)? {
            (rows, None) => Ok(rows),
            (_, Some(missing)) => Err(missing),
        }
    }

    /// What came though there is more, and that there is.
    fn rows_and_missing<T: DeserializeOwned>(
        &self,
        request: &impl Request,
    ) -> Result<(Vec<T>, Option<ClientError>), ClientError> {
        let mut rows = Vec::new();
        let asked = client::ask(self.socket, request, |row| {
            rows.push(serde_json::from_value(row)?);
            Ok(())
        });
        match asked {
            Ok(_) => Ok((rows, None)),
            Err(missing @ ClientError::Incomplete { .. }) => Ok((rows, Some(missing))),
            Err(error) => Err(error),
        }
    }

    /// A few rows as a table.
    pub fn table<T: Table + DeserializeOwned>(&self, request: &impl Request) -> Result<(), ClientError> {
        if self.json {
            return self.stream::<serde_json::Value>(request, "", |_, _| Ok(()));
        }
        let (rows, missing) = self.rows_and_missing::<T>(request)?;
        let mut out = output();
        writeln!(out, "{}", table(&rows)).and_then(|()| out.flush()).map_err(ClientError::Output)?;
        missing.map_or(Ok(()), Err)
    }

    /// Any number of rows, each printed as it comes. Without an answer nothing is printed.
    pub fn stream<T: DeserializeOwned>(
        &self,
        request: &impl Request,
        header: &str,
        render: impl Fn(&mut dyn Write, &T) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        self.print_rows(request, header, header, render)
    }

    /// Rows that are sentences, and what is said where there are none.
    pub fn sentences<T: DeserializeOwned>(
        &self,
        request: &impl Request,
        nothing: &str,
        render: impl Fn(&mut dyn Write, &T) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        self.print_rows(request, "", nothing, render)
    }

    /// Rows that come for as long as they are listened to, each printed at once; with JSON one a line.
    pub fn follow<T: DeserializeOwned>(
        &self,
        request: &impl Request,
        render: impl Fn(&mut dyn Write, &T) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let mut out = output();
        let heard = |heard| {
            match (heard, self.json) {
                (Heard::Row(row), true) => json_line(&mut out, &row)?,
                (Heard::Row(row), false) => render(&mut out, &serde_json::from_value(row)?)?,
                (Heard::Lost(rows), true) => json_line(&mut out, &serde_json::json!({ "lost": rows }))?,
                (Heard::Lost(rows), false) => {
                    writeln!(out, "({rows} rows lost: they came faster than they were taken)")?;
                }
            }
            out.flush()
        };
        Conversation::open(self.socket, request)?.hear(heard).map(drop)
    }

    fn print_rows<T: DeserializeOwned>(
        &self,
        request: &impl Request,
        header: &str,
        nothing: &str,
        render: impl Fn(&mut dyn Write, &T) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let (opening, closing) = if self.json { ("[\n", "\n]\n") } else { (header, "") };
        let mut out = output();
        let mut first = true;
        let asked = client::ask(self.socket, request, |row| {
            let before = match (first, self.json) {
                (true, _) => opening,
                (false, true) => ",\n",
                (false, false) => "",
            };
            first = false;
            out.write_all(before.as_bytes())?;
            if self.json {
                return Ok(serde_json::to_writer(&mut out, &row)?);
            }
            render(&mut out, &serde_json::from_value(row)?)
        });
        let missing = match asked {
            Ok(_) => None,
            Err(error @ ClientError::Incomplete { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        let mut end = || {
            match &missing {
                Some(ClientError::Incomplete { missing, .. }) if self.json => {
                    out.write_all(if first { opening } else { ",\n" }.as_bytes())?;
                    serde_json::to_writer(&mut out, &serde_json::json!({ "missing": missing }))?;
                }
                None if first => out.write_all(if self.json { opening } else { nothing }.as_bytes())?,
                // Where something is missing, that there is nothing would not be so.
                _ => {}
            }
            out.write_all(closing.as_bytes())?;
            out.flush()
        };
        end().map_err(ClientError::Output)?;
        missing.map_or(Ok(()), Err)
    }
}

fn nothing<R: Request>(_: &R) -> ClientError {
    ClientError::Nothing { daemon: R::DAEMON }
}

fn json_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// For people as well as for programs.
pub fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}
