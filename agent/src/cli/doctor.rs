//! What the host's examination found, for people and for programs.

use std::io::{self, Write};

use anyhow::Result;
use vtep_api::control::terminal::{Exit, json, output};

use super::args::DoctorArgs;
use crate::doctor::{self, Finding, Level, Report};

pub(super) fn doctor(args: &DoctorArgs) -> Result<Exit> {
    let report = doctor::examine(&args.question());
    let mut out = output();
    if args.json {
        json(&mut out, &report)?;
    } else {
        render(&mut out, &report)?;
    }
    out.flush()?;
    // Of `Exit` the one for an error: a host with a problem is one.
    Ok(if report.problems == 0 { Exit::Ok } else { Exit::Error })
}

fn render(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let mut last = None;
    for finding in &report.findings {
        let head = (finding.group, finding.subject.as_deref());
        if last != Some(head) {
            let subject = head.1.map(|subject| format!(" {subject}")).unwrap_or_default();
            writeln!(out, "{}{subject}", finding.group)?;
            last = Some(head);
        }
        line(out, finding)?;
    }
    let Report { problems, warnings, .. } = report;
    writeln!(out, "{problems} problems, {warnings} warnings")
}

/// Behind the level and the check.
const INDENT: &str = "                               ";

fn line(out: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    let Finding { level, check, value, expected, remedy, .. } = finding;
    let check = check.replace('_', " ");
    let value = value.replace('\n', &format!("\n{INDENT}"));
    writeln!(out, "  {level:<8} {check:<19} {value}")?;
    if *level == Level::Ok {
        return Ok(());
    }
    if let Some(expected) = expected {
        writeln!(out, "{INDENT}expected {expected}")?;
    }
    if let Some(remedy) = remedy {
        writeln!(out, "{INDENT}mend     {remedy}")?;
    }
    Ok(())
}
