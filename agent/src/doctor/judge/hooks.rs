//! Who else stands where our programs stand.

use super::super::facts::{Host, Interface};
use super::super::finding::{Finding, Group, Mend, Section};
use crate::kernel::Occupant;
use crate::netlink::Filter;

pub(super) fn judge(host: &Host, findings: &mut Vec<Finding>) {
    for (name, interface) in &host.interfaces {
        let mut section = Section::new(Group::Hooks, Some(name), findings);
        ingress(name, interface, host.daemon_runs, &mut section);
        egress(interface, &mut section);
        xdp(name, interface, &mut section);
        filters(name, interface, &mut section);
    }
}

fn ingress(name: &str, interface: &Interface, daemon_runs: bool, section: &mut Section<'_>) {
    const CHECK: &str = "tcx_ingress";
    let programs = match &interface.tcx_ingress {
        Ok(programs) => programs,
        Err(error) => return unknown(CHECK, error, section),
    };
    let ours = programs.iter().position(|program| program.ours);
    let (before, after) = programs.split_at(ours.unwrap_or(programs.len()));
    let after: Vec<_> = after.iter().filter(|program| !program.ours).collect();
    if !before.is_empty() {
        let value = match ours {
            Some(_) => format!("{} before ours", list(before)),
            // Ours is put behind what stands there.
            None => format!("{}; ours will come after", list(before)),
        };
        let mend = Mend::expected("none before ours: it may take or change frames that we never see").by(
            format!("bpftool net show dev {name}; detach what should not be there, then restart the agent"),
        );
        section.warning(CHECK, value, mend);
    }
    if !after.is_empty() {
        section.note(CHECK, format!("{} after ours, sees what ours leaves", list(after)));
    }
    match ours {
        Some(_) if before.is_empty() => section.ok(CHECK, "ours is the first"),
        None if daemon_runs => section.problem(
            CHECK,
            "ours is not there, and the daemon runs",
            Mend::expected("our program").by("vtep-agent status"),
        ),
        None if before.is_empty() => section.ok(CHECK, "free"),
        _ => {}
    }
}

fn egress(interface: &Interface, section: &mut Section<'_>) {
    const CHECK: &str = "tcx_egress";
    match &interface.tcx_egress {
        Ok(programs) if programs.is_empty() => section.ok(CHECK, "free"),
        Ok(programs) => {
            section.note(CHECK, format!("{}: sees all that we send there, and may drop it", list(programs)));
        }
        Err(error) => unknown(CHECK, error, section),
    }
}

fn xdp(name: &str, interface: &Interface, section: &mut Section<'_>) {
    const CHECK: &str = "xdp";
    let programs = match &interface.xdp {
        Ok(programs) => programs,
        Err(error) => return unknown(CHECK, error, section),
    };
    let mut any = false;
    for xdp in programs.iter().filter(|xdp| !xdp.program.ours) {
        any = true;
        let generic = if xdp.generic { " (generic)" } else { "" };
        let value = format!("{}{generic} runs before ours", list([&xdp.program]));
        let off = if xdp.generic { "xdpgeneric" } else { "xdp" };
        let mend = Mend::expected(
            "none of others: what it takes never comes to us, and packet-rate mode has no place",
        )
        .by(format!("ip link set dev {name} {off} off, or detach its link"));
        section.warning(CHECK, value, mend);
    }
    if any {
        return;
    }
    section.ok(CHECK, if programs.is_empty() { "free" } else { "ours" });
}

fn filters(name: &str, interface: &Interface, section: &mut Section<'_>) {
    const CHECK: &str = "filters";
    let filters = match &interface.filters {
        Ok(filters) => filters,
        Err(error) => return unknown(CHECK, error, section),
    };
    if filters.is_empty() {
        return section.ok(CHECK, "none");
    }
    // `tcx_run` comes before `tc_run` (`sch_handle_ingress` in the kernel's `net/core/dev.c`).
    for (egress, what) in
        [(false, "run after ours, see what ours leaves"), (true, "see all that we send there")]
    {
        let found: Vec<_> = filters.iter().filter(|filter| filter.egress == egress).map(describe).collect();
        if !found.is_empty() {
            let direction = if egress { "egress" } else { "ingress" };
            section.note(CHECK, format!("{} at {direction} of {name}: {what}", found.join(", ")));
        }
    }
}

fn describe(filter: &Filter) -> String {
    match &filter.name {
        Some(name) => format!("{} ({name})", filter.kind),
        None => filter.kind.clone(),
    }
}

fn unknown(check: &'static str, error: &str, section: &mut Section<'_>) {
    section.warning(
        check,
        format!("cannot be read: {error}"),
        Mend::expected("to be read").by("run as root"),
    );
}

/// `program 12 (count_packets)`.
fn list<'a>(programs: impl IntoIterator<Item = &'a Occupant>) -> String {
    let describe = |program: &Occupant| match &program.name {
        Some(name) => format!("program {} ({name})", program.id),
        None => format!("program {}", program.id),
    };
    programs.into_iter().map(describe).collect::<Vec<_>>().join(", ")
}
