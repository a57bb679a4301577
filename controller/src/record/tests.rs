use std::io::BufReader;
use std::sync::Arc;

use tempfile::TempDir;
use vtep_api::{
    Claim, Claims, ControllerName, FromPhysical, LocalMac, LogicalSwitchName, MacAddr, PROTOCOL, Report,
    Session, Stamp, Term, VtepName, VtepState, VtepStatus,
};

use super::*;
use crate::control::fdb_of_logical;
use crate::declared::{Batch, file};
use crate::logical::{Action, Durable, Event, Logical};

const DECLARED: &str = "version = 1\n[policy]\nstart_wait_secs = 0\n[[vtep]]\nname = \"a\"\naddress = \"192.0.2.1\"\n\
    [[vtep]]\nname = \"b\"\naddress = \"192.0.2.2\"\n[[logical_switch]]\nname = \"blue\"\nvni = 5001\n\
    [[subscription]]\nvtep = \"a\"\nlogical_switch = \"blue\"\n[[subscription]]\nvtep = \"b\"\nlogical_switch = \"blue\"\n";

fn start() -> logical::Start {
    logical::Start {
        name: ControllerName::try_from("lc").unwrap(),
        term: Term(1),
        declared: Arc::new(file::parse("d.toml", DECLARED).unwrap()),
        durable: Durable::default(),
        elected: false,
    }
}

fn now(ms: u32) -> Now {
    Now { mono_ms: ms.into(), wall_ms: 1_700_000_000_000 + i64::from(ms) }
}

fn peer() -> ControllerName {
    ControllerName::try_from("pc").unwrap()
}

fn said(message: FromPhysical) -> Event {
    Event::Message { peer: peer(), message }
}

/// What two VTEPs claim, and that one of the MACs moves.
fn events() -> Vec<Event> {
    let hello = FromPhysical::Hello { protocol: PROTOCOL, name: peer(), term: Term(1), tables: Vec::new() };
    let mut events = vec![Event::Connected { peer: peer() }, said(hello)];
    for (name, address) in [("a", 1), ("b", 2)] {
        let state = VtepState { address: Some([192, 0, 2, address].into()), ..VtepState::default() };
        let status = VtepStatus { session: Session::Up, state, skew_ms: None, away: None };
        events.push(said(FromPhysical::Vtep {
            vtep: VtepName::try_from(name).unwrap(),
            status,
            reign: None,
        }));
    }
    for (seq, name, mac, snapshot) in
        [(1, "a", 1, true), (2, "b", 2, true), (3, "a", 3, false), (4, "b", 1, false), (5, "a", 4, false)]
    {
        let claim = Claim {
            local: LocalMac::default(),
            stamp: Stamp { epoch: 1, seq },
            received_at_ms: 1_700_000_000_000,
            was_master: false,
        };
        events.push(said(FromPhysical::Claims(Claims {
            vtep: VtepName::try_from(name).unwrap(),
            logical_switch: LogicalSwitchName::try_from("blue").unwrap(),
            snapshot,
            records: vec![(MacAddr::new([2, 0, 0, 0, 0, mac]), Report::Claim(claim))],
            end: true,
        })));
    }
    events.push(Event::Tick);
    events
}

/// Steps a core as the daemon does, and tells what it came to.
fn run(recorder: &Recorder) -> Logical {
    let mut core = Logical::new(start(), now(0));
    recorder.logical_start(&start(), now(0));
    let mut actions: Vec<Action> = Vec::new();
    for (at, event) in (1..).zip(events()) {
        recorder.logical(&event, now(at * 1000));
        core.step(event, now(at * 1000), &mut actions);
    }
    core
}

fn table(core: &Logical) -> String {
    serde_json::to_string(&fdb_of_logical(core, None).unwrap()).unwrap()
}

fn recorded(bytes_max: u64) -> (TempDir, PathBuf, Recorder) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let recorder = Recorder::append(&path, bytes_max).unwrap();
    (directory, path, recorder)
}

fn replayed(path: &Path) -> Result<Replayed, ReplayError> {
    replay(BufReader::new(File::open(path).unwrap()))
}

#[test]
fn a_replay_gives_the_same_tables_byte_for_byte() {
    let (_directory, path, recorder) = recorded(1 << 20);
    let live = run(&recorder);
    assert!(table(&live).contains("02:00:00:00:00:01"), "the run makes a table: {}", table(&live));
    assert!(table(&live).contains("\"master\":\"b\""));
    let again = replayed(&path).unwrap();
    assert_eq!(table(again.logical.as_ref().unwrap()), table(&live));
    assert_eq!((again.events, again.torn, again.ended), (events().len() as u64, 0, None));
}

#[test]
fn a_physical_controller_is_recorded_beside_it() {
    let (_directory, path, recorder) = recorded(1 << 20);
    run(&recorder);
    let start = physical::Start { name: peer(), term: Term(1), batch: Batch::default(), elected: false };
    recorder.physical_start(&start, now(0));
    recorder.physical(&physical::Event::Connected { peer: peer() }, now(1));
    let again = replayed(&path).unwrap();
    assert!(again.logical.is_some());
    let peers = again.physical.unwrap().peers();
    assert_eq!(peers.len(), 1);
}

#[test]
fn a_restart_appends_and_begins_anew() {
    let (_directory, path, recorder) = recorded(1 << 20);
    let live = table(&run(&recorder));
    drop(recorder);
    // As a crash in the middle of a line leaves it.
    let mut text = std::fs::read(&path).unwrap();
    text.truncate(text.len() - 10);
    std::fs::write(&path, &text).unwrap();
    assert_eq!(replayed(&path).unwrap().torn, 1);
    run(&Recorder::append(&path, 1 << 20).unwrap());
    let again = replayed(&path).unwrap();
    assert_eq!((table(again.logical.as_ref().unwrap()), again.torn), (live, 1));
}

#[test]
fn at_its_limit_a_recording_ends_with_a_line_that_says_so() {
    const LIMIT: u64 = 3000;
    let (_directory, path, recorder) = recorded(LIMIT);
    run(&recorder);
    let length = std::fs::metadata(&path).unwrap().len();
    assert!(length <= LIMIT && length > LIMIT / 2, "{length}");
    let reason = "the recording has reached its limit of 3000 bytes";
    assert_eq!(recorder.ended().as_deref(), Some(reason));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().last(), Some(format!("{{\"end\":{{\"reason\":\"{reason}\"}}}}").as_str()));
    let again = replayed(&path).unwrap();
    assert_eq!(again.ended.as_deref(), Some(reason));
    assert!(again.events < events().len() as u64);
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_controller() {
    let recorder = Recorder::append(Path::new("/dev/full"), 1 << 20).unwrap();
    run(&recorder);
    assert!(recorder.ended().unwrap().contains("the recording failed: No space left on device"));
}

#[test]
fn what_is_no_recording_is_refused_with_its_line() {
    let check = |text: &str, expected: &str| {
        let error = replay(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("", "empty");
    check("hello\n", "line 1 of the recording is not understood");
    let run = "{\"run\":{\"format\":1,\"version\":\"0\"}}\n";
    let tick = "{\"logical\":{\"now\":{\"mono_ms\":1,\"wall_ms\":1},\"event\":\"tick\"}}\n";
    check(&format!("{run}{tick}"), "line 2: an event of a logical controller that was not started");
    check(&run.replace(":1", ":9"), "line 1: the recording has format 9");
    check(&format!("{run}rubbish\n{run}{tick}"), "line 4: an event");
    check(&format!("{run}rubbish\n{tick}{tick}"), "line 2 of the recording is not understood");
}
