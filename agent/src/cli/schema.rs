//! The schema extension, made from a file or on a live database.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hardware_vtep::DATABASE;
use hardware_vtep::schema::{self, Converted, ExtendError};
use ovsdb::{Event, Events, Monitor, Remote, SessionConfig, Tls, session};

use super::Exit;
use super::args::ExtendArgs;

pub(super) fn extend(args: &ExtendArgs) -> Result<Exit> {
    match &args.convert {
        Some(remote) => convert(remote, tls(args))?,
        None => write(&args.from, args.output.as_deref())?,
    }
    Ok(Exit::Ok)
}

fn write(from: &Path, output: Option<&Path>) -> Result<()> {
    let stock = fs::read_to_string(from)
        .with_context(|| format!("{} cannot be read; name the stock schema with --from", from.display()))?;
    let extended = match schema::extend(&stock) {
        Ok(extended) => extended,
        Err(ExtendError::Extended { .. }) => stock,
        Err(error) => return Err(error).with_context(|| from.display().to_string()),
    };
    match output {
        Some(path) => {
            fs::write(path, extended).with_context(|| format!("{} cannot be written", path.display()))
        }
        None => Ok(io::stdout().write_all(extended.as_bytes())?),
    }
}

fn tls(args: &ExtendArgs) -> Option<Tls> {
    Some(Tls {
        private_key: args.private_key.clone()?,
        certificate: args.certificate.clone()?,
        ca_certificate: args.ca_certificate.clone()?,
        peer_name: None,
    })
}

/// For the whole of it: a large database takes its time.
const TIMEOUT: Duration = Duration::from_mins(2);

fn convert(remote: &Remote, tls: Option<Tls>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let converted = runtime.block_on(async {
        // Nothing is followed: the server would end the connection at the conversion.
        let mut config = SessionConfig::new(remote.clone(), DATABASE, Monitor::new());
        config.tls = tls;
        let (handle, mut events) = session::spawn(config);
        let converting = async {
            connected(&mut events).await?;
            tokio::select! {
                converted = schema::convert(&handle) => return Ok(converted?),
                _ = lost(&mut events) => {}
            }
            // The server may end the connection at the conversion and before its answer: ask what there is.
            connected(&mut events).await?;
            tokio::select! {
                converted = schema::convert(&handle) => converted.map(|_| Converted::Now).map_err(Into::into),
                error = lost(&mut events) => Err(error),
            }
        };
        let late = || anyhow!("no answer within {} s", TIMEOUT.as_secs());
        tokio::time::timeout(TIMEOUT, converting).await.unwrap_or_else(|_| Err(late()))
    });
    match converted.with_context(|| remote.to_string())? {
        Converted::Now => println!("{remote}: {DATABASE} is converted to {}", schema::VERSION),
        Converted::Before => println!("{remote}: {DATABASE} is extended already"),
    }
    Ok(())
}

async fn connected(events: &mut Events) -> Result<()> {
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected { .. } => return Ok(()),
            Event::Disconnected { reason, .. } => return Err(anyhow!(reason)),
            _ => {}
        }
    }
    Err(anyhow!("the session is over"))
}

async fn lost(events: &mut Events) -> anyhow::Error {
    loop {
        match events.recv().await {
            Some(Event::Disconnected { reason, .. }) => return anyhow!(reason),
            Some(_) => {}
            None => return anyhow!("the session is over"),
        }
    }
}
