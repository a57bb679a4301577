//! Which maps the programs write, by the verifier's word: it admits no program that may write into a map that is read-only
//! to programs. As root, on the running kernel.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{self, ErrorKind};
use std::process::Command;

use aya::programs::{Program, ProgramError};
use aya::{EbpfLoader, VerifierLogLevel};
use vtep_abi::{TRACING, global, map};
use vtep_agent::kernel::OBJECT;
use vtep_tests::bpffs::Bpffs;
use vtep_tests::netns::output;

/// `BPF_F_RDONLY_PROG` of the kernel's `bpf.h`.
const READ_ONLY: u32 = 1 << 7;

/// An instance of the programs: that which forwards, or one of a trace; with one of the two MAC tables.
#[derive(Debug, Clone, Copy)]
struct Instance {
    traces: bool,
    mac_table: u32,
}

const MAC_TABLES: [u32; 2] = [global::MAC_TABLE_HASH, global::MAC_TABLE_BUCKETED];

/// Loads all programs of the object where all maps but these are read-only. What the kernel says to the first one that may write
/// elsewhere.
fn load(instance: Instance, written: &[&str]) -> Result<(), io::Error> {
    let bpffs = Bpffs::new().unwrap();
    let bytes = OBJECT.unwrap();
    let object = aya_obj::Object::parse(bytes).unwrap();
    let mut loader = EbpfLoader::new();
    let traces = u8::from(instance.traces);
    loader.override_global(TRACING, &traces, true);
    loader.override_global(global::MAC_TABLE, &instance.mac_table, true);
    loader.verifier_log_level(VerifierLogLevel::STATS);
    for name in map::ALL.iter().filter(|name| !written.contains(*name)) {
        let pin = bpffs.path().join(name);
        let built = &object.maps[*name];
        let mut create = Command::new("bpftool");
        create.args(["map", "create"]).arg(&pin).args(["type", kind(built.map_type())]);
        let flags = built.map_flags() | READ_ONLY;
        let numbers =
            [("key", built.key_size()), ("value", built.value_size()), ("entries", 16), ("flags", flags)];
        for (word, number) in numbers {
            create.arg(word).arg(number.to_string());
        }
        output(create.args(["name", name])).unwrap();
        loader.map_pin_path(name, pin);
    }
    let mut ebpf = loader.load(bytes).unwrap();
    for (name, program) in ebpf.programs_mut() {
        loop {
            let admitted = match &mut *program {
                Program::SchedClassifier(program) => program.load(),
                Program::Xdp(program) => program.load(),
                other => panic!("{name} is {other:?}"),
            };
            match admitted {
                Ok(()) => break,
                // A signal came while the verifier walked.
                Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == ErrorKind::WouldBlock => {
                }
                Err(ProgramError::LoadError { io_error, .. }) => return Err(io_error),
                Err(error) => panic!("{name} with {instance:?}: {error}"),
            }
        }
    }
    Ok(())
}

/// As bpftool calls it (`enum bpf_map_type` of the kernel's `bpf.h`).
fn kind(map_type: u32) -> &'static str {
    match map_type {
        1 => "hash",
        2 => "array",
        6 => "percpu_array",
        other => panic!("map type {other}"),
    }
}

#[test]
fn a_trace_can_write_no_map_that_it_shares() {
    for mac_table in MAC_TABLES {
        load(Instance { traces: true, mac_table }, map::WRITTEN_BY_PROGRAMS).unwrap();
    }
}

/// Beside these it takes VTEPs down that are silent, which the proof of intent forgives.
#[test]
fn what_forwards_writes_what_is_listed_and_which_vteps_are_silent() {
    let written = [map::WRITTEN_BY_PROGRAMS, &[map::VTEP_OPER]].concat();
    for mac_table in MAC_TABLES {
        load(Instance { traces: false, mac_table }, &written).unwrap();
    }
}

/// The negative control.
#[test]
fn the_verifier_finds_each_write_that_is_not_listed() {
    let instance = Instance { traces: false, mac_table: global::MAC_TABLE_BUCKETED };
    let all = [map::WRITTEN_BY_PROGRAMS, &[map::VTEP_OPER]].concat();
    for left_out in [map::VTEP_OPER, map::STATS, map::PORT_STATS, map::PORT_BUCKETS, map::SEEN, map::SEEN_CPU]
    {
        let written: Vec<&str> = all.iter().copied().filter(|name| *name != left_out).collect();
        let error = load(instance, &written).expect_err(left_out);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{left_out}: {error}");
    }
}
