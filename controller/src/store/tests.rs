use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vtep_api::{LogicalSwitchName, MacAddr, VtepName};

use super::*;
use crate::declared::{Pin, file};

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("state")).unwrap();
    (directory, store)
}

fn reopened(directory: &TempDir) -> Result<Store, StoreError> {
    Store::open(&directory.path().join("state"))
}

/// A document of about so many bytes, all of which say `number`.
fn applied(number: i64, bytes: usize) -> Applied {
    let comment = format!("# {number}\n");
    let text = format!("version = 1\n{}", comment.repeat(bytes / comment.len()));
    let declared = Arc::new(file::parse("d.toml", &text).unwrap());
    Applied { text, name: "d.toml".to_owned(), applied_at_ms: number, declared }
}

fn pinned(number: u8) -> Durable {
    let pin = Pin {
        logical_switch: LogicalSwitchName::try_from("blue").unwrap(),
        mac: MacAddr::new([2, 0, 0, 0, 0, number]),
        vtep: VtepName::try_from("tor-a").unwrap(),
    };
    Durable { pins: BTreeSet::from([pin]), ..Durable::default() }
}

#[test]
fn what_was_put_is_there_after_a_restart() {
    let (directory, mut store) = store();
    assert_eq!(store.declared(), None);
    assert_eq!(*store.durable(), Durable::default());
    store.put_declared(applied(7, 100)).unwrap();
    store.put_durable(&pinned(1)).unwrap();
    drop(store);
    let store = reopened(&directory).unwrap();
    assert_eq!(store.declared(), Some(&applied(7, 100)));
    assert_eq!(*store.durable(), pinned(1));
}

/// etcd takes so much in one request, and operators know how large their file is.
#[test]
fn a_declared_file_is_written_down_once() {
    let mut document = applied(1, 10);
    for number in 0..1000 {
        write!(document.text, "[[logical_switch]]\nname = \"ls{number}\"\nvni = {}\n\n", number + 1).unwrap();
    }
    document.declared = Arc::new(file::parse("d.toml", &document.text).unwrap());
    let sealed = Envelope::seal(&document).unwrap();
    assert!(sealed.len() < document.text.len() * 5 / 4, "{} for {}", sealed.len(), document.text.len());
    assert_eq!(Envelope::open::<Applied>(&sealed).unwrap(), document);
}

#[test]
fn masters_of_contested_macs_are_kept_beside_the_rest() {
    let (directory, mut store) = store();
    let network = || LogicalSwitchName::try_from("blue").unwrap();
    let master = |name| Some(Remembered { master: VtepName::try_from(name).unwrap(), kept: name == "b" });
    let key = |number| (network(), MacAddr::new([2, 0, 0, 0, 0, number]));
    store.put_masters(&Masters::from([(key(1), master("a")), (key(2), master("b"))])).unwrap();
    store.put_masters(&Masters::from([(key(1), master("b")), (key(2), None), (key(3), None)])).unwrap();
    store.put_durable(&pinned(1)).unwrap();
    drop(store);
    let mut store = reopened(&directory).unwrap();
    let masters = BTreeMap::from([(network(), BTreeMap::from([(key(1).1, master("b").unwrap())]))]);
    assert_eq!(*store.durable(), Durable { masters: masters.clone(), ..pinned(1) });
    store.put_durable(&Durable::default()).unwrap();
    assert_eq!(store.durable().masters, masters);
}

#[test]
fn every_term_is_higher_than_all_before() {
    let (directory, mut store) = store();
    assert_eq!((store.next_term(0).unwrap(), store.next_term(0).unwrap()), (Term(1), Term(2)));
    drop(store);
    let mut store = reopened(&directory).unwrap();
    assert_eq!(store.term(), Term(2));
    assert_eq!(store.next_term(0).unwrap(), Term(3));
}

#[test]
fn the_first_term_of_a_new_store_is_higher_than_those_of_one_that_was_lost() {
    let (directory, mut lost) = store();
    let before = [lost.next_term(1_700_000_000).unwrap(), lost.next_term(1_700_000_009).unwrap()];
    assert_eq!(before, [Term(1_700_000_000), Term(1_700_000_001)]);
    drop((lost, directory));
    let (_directory, mut new) = store();
    assert!(new.next_term(1_700_000_010).unwrap() > before[1]);
}

#[test]
fn a_second_process_is_refused_at_once() {
    let (directory, store) = store();
    let start = Instant::now();
    let error = reopened(&directory).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(matches!(error, StoreError::Taken { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(store);
    assert!(reopened(&directory).is_ok());
}

/// Overwrites a value without its checksum being made anew, or with another schema.
fn tamper(directory: &TempDir, key: &str, value: &[u8]) {
    let database = Database::create(directory.path().join("state").join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(STATE).unwrap().insert(key, value).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn what_is_damaged_or_of_another_release_is_refused() {
    let (directory, mut store) = store();
    store.put_durable(&pinned(1)).unwrap();
    drop(store);
    let mut sealed = envelope::seal(&pinned(1)).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    tamper(&directory, "durable", &sealed);
    let error = reopened(&directory).unwrap_err();
    assert!(error.to_string().contains("is damaged: the checksum of `durable`"), "{error}");
    tamper(&directory, "durable", &envelope::seal(&"no pins").unwrap());
    assert!(matches!(reopened(&directory), Err(StoreError::Decode { key: "durable", .. })));
    tamper(&directory, "schema", &envelope::seal(&2).unwrap());
    let error = reopened(&directory).unwrap_err();
    assert!(error.to_string().contains("has schema 2; expected 1"), "{error}");
}

#[test]
fn what_is_no_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), "this is a shopping list\n".repeat(1000)).unwrap();
    let error = Store::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Store::open(&file), Err(StoreError::Directory { .. })));
}

const CHILD: &str = "VTEPD_STORE_TEST_DIRECTORY";
const KILLS: usize = 40;

/// Not a test of its own: writes until it is killed, and says what it has written.
#[test]
#[ignore = "is started by a_kill_at_any_instant_leaves_the_old_state_or_the_new"]
fn child_that_writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let mut store = Store::open(Path::new(&directory)).unwrap();
    let Term(term) = store.next_term(0).unwrap();
    println!("term {term}");
    for number in i64::try_from(term).unwrap() * 1000.. {
        store.put_declared(applied(number, 50_000)).unwrap();
        println!("put {number}");
    }
}

#[test]
fn a_kill_at_any_instant_leaves_the_old_state_or_the_new() {
    let directory = tempfile::tempdir().unwrap();
    let (mut term, mut put) = (0, 0);
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "store::tests::child_that_writes_until_it_is_killed",
            ])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere within a write: after so many of them, and a little later each time.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut puts = 0;
        for line in lines.by_ref() {
            let line = line.unwrap();
            let mut words = line.split(' ').rev();
            let number: Option<i64> = words.next().and_then(|word| word.parse().ok());
            match (words.next(), number) {
                (Some("term"), Some(number)) => {
                    assert!(number > term, "round {round}: term {number} after {term}");
                    term = number;
                }
                (Some("put"), Some(number)) => {
                    (put, puts) = (number, puts + 1);
                    if puts > round % 3 {
                        break;
                    }
                }
                _ => {}
            }
        }
        let until = Instant::now() + Duration::from_micros(u64::try_from(round).unwrap() * 211);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        // What it still said before it died.
        for line in lines.map_while(Result::ok) {
            put = line.strip_prefix("put ").and_then(|number| number.parse().ok()).unwrap_or(put);
        }
        child.wait().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let found = store.declared().unwrap();
        // The one that was said last, or one that was committed and not said any more; never a mixture.
        assert!(found.applied_at_ms == put || found.applied_at_ms == put + 1, "round {round}: {found:?}");
        assert_eq!(*found, applied(found.applied_at_ms, 50_000), "round {round}");
        assert_eq!(store.term(), Term(u64::try_from(term).unwrap()));
    }
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    // A limit on files would hold for the tests beside it: the one that does it is a process of its own.
    // And with the signal ignored, as it then fails like a write to a full disk.
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "store::tests::child_whose_disk_is_full"])
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("went on"), "{text}");
}

#[test]
#[ignore = "is started by a_full_disk_is_said_and_nothing_is_lost"]
fn child_whose_disk_is_full() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let mut store = Store::open(Path::new(&directory)).unwrap();
    store.put_declared(applied(1, 10_000)).unwrap();
    let term = store.next_term(0).unwrap();
    let length = std::fs::metadata(store.path()).unwrap().len();
    limit_files(&length.to_string());
    let error = store.put_declared(applied(2, 8 << 20)).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("has no room; what was there before is kept"), "{error}");
    assert!(store.failing().is_some());
    // Nothing is lost, and no term is told that is not on the disk.
    assert_eq!(store.declared(), Some(&applied(1, 10_000)));
    match store.next_term(0) {
        Ok(next) => assert_eq!(next, Term(term.0 + 1)),
        Err(error) => assert!(matches!(error, StoreError::Full { .. }) && store.term() == term, "{error:?}"),
    }
    let term = store.term();
    // Once there is room, what was there is still there, and the rest is written.
    limit_files("unlimited");
    store.put_durable(&pinned(1)).unwrap();
    assert_eq!(store.failing(), None);
    drop(store);
    let mut store = Store::open(Path::new(&directory)).unwrap();
    assert_eq!((store.declared(), store.durable()), (Some(&applied(1, 10_000)), &pinned(1)));
    assert_eq!(store.next_term(0).unwrap(), Term(term.0 + 1));
    store.put_declared(applied(2, 8 << 20)).unwrap();
    println!("went on");
}

/// The largest file that this process may write.
fn limit_files(bytes: &str) {
    let pid = std::process::id().to_string();
    let limited =
        Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(limited.unwrap().success());
}
