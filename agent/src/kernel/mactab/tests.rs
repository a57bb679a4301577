//! The writer on plain memory: nothing here needs a kernel that knows BPF.

use std::collections::HashMap;

use super::*;

const SEED: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0xc2b2_ae3d_27d4_eb4f];

type Memory = Vec<AtomicU64>;

fn zeroed(words: usize) -> Memory {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

fn table(buckets: usize, seed: [u64; 3]) -> MacTab<Memory> {
    MacTab::create(zeroed(buckets * BUCKET_WORDS), zeroed(16), seed).unwrap()
}

fn key(number: u32) -> MacKey {
    let [a, b, c, d] = number.to_be_bytes();
    MacKey::new(1, [2, 0, a, b, c, d]).unwrap()
}

fn value(number: u32) -> NonZeroU64 {
    NonZeroU64::new(u64::from(number) + 1).unwrap()
}

/// What another process would find.
fn reopened(table: MacTab<Memory>) -> (MacTab<Memory>, Recovered) {
    let MacTab { words, control, .. } = table;
    MacTab::open(words, control).unwrap()
}

#[test]
fn a_table_says_what_a_hash_map_says() {
    let mut table = table(100, SEED);
    let mut expected = HashMap::new();
    let mut state = 1_u64;
    for step in 0..20_000_u32 {
        // Numerical Recipes' generator: the same steps in every run.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = u32::try_from((state >> 33) % 370).unwrap();
        if (state >> 20).is_multiple_of(3) {
            assert_eq!(table.remove(key(number)), expected.remove(&key(number)).is_some());
        } else {
            assert_eq!(table.put(key(number), value(step)), Put::Written);
            expected.insert(key(number), value(step));
        }
        assert_eq!(table.get(key(number)), expected.get(&key(number)).copied());
    }
    let found: HashMap<_, _> = table.iter().collect();
    assert_eq!((table.len(), table.len_of(1), &found), (expected.len(), expected.len(), &expected));
    let (table, recovered) = reopened(table);
    assert_eq!((table.len(), recovered), (expected.len(), Recovered::default()));
}

#[test]
fn every_table_fills_to_the_load_that_it_may_have() {
    for (buckets, seed) in [(100, 1_u64), (1000, 2), (20_000, 3)] {
        let mut table = table(buckets, SEED.map(|word| word.rotate_left(7).wrapping_mul(seed)));
        let rows: Vec<_> = (0..u32::try_from(buckets * SLOTS).unwrap()).map(|n| (key(n), value(n))).collect();
        let refused = table.put_all(&rows);
        assert!(refused.iter().all(|(_, why)| *why == Put::Full), "{buckets} buckets: {:?}", refused.first());
        assert!(table.load() > 0.94, "{buckets} buckets are full at {}", table.load());
        assert_eq!(table.put(key(0), value(9)), Put::Written, "an entry is overwritten even in a full table");
        let there = rows.len() - refused.len();
        assert_eq!(table.remove_all(&rows.iter().map(|(key, _)| *key).collect::<Vec<_>>()), there);
        assert!(table.is_empty() && table.iter().next().is_none());
    }
}

#[test]
fn a_start_clears_the_copy_that_a_kill_left_of_a_move() {
    let mut table = table(100, SEED);
    for number in 0..300 {
        assert_eq!(table.put(key(number), value(number)), Put::Written);
    }
    let (from, to) = (0..table.slots())
        .find_map(|from| {
            let key = MacKey::from_word(table.key(from))?;
            let [first, second] = table.geometry.buckets_of(key);
            let other = if first as usize == from / SLOTS { second } else { first };
            let to = slots_of(other).find(|to| table.key(*to) == 0)?;
            Some((from, to))
        })
        .unwrap();
    // As `relocate` does, up to where it was killed.
    table.words[2 * to + 1].store(table.value(from), Ordering::Release);
    table.words[2 * to].store(table.key(from), Ordering::Release);
    assert_eq!(table.iter().count(), 301);

    let (table, recovered) = reopened(table);
    assert_eq!(recovered, Recovered { copies: 1, astray: 0 });
    assert_eq!((table.len(), table.iter().count()), (300, 300));
    for number in 0..300 {
        assert_eq!(table.get(key(number)), Some(value(number)));
    }
}

#[test]
fn a_start_clears_what_no_reader_finds() {
    let mut table = table(100, SEED);
    table.put(key(1), value(1));
    let buckets = table.geometry.buckets_of(key(2));
    let astray = (0..100).find(|bucket| !buckets.contains(bucket)).unwrap();
    let slot = slots_of(astray).find(|slot| table.key(*slot) == 0).unwrap();
    table.insert(slot, key(2).word(), 7);
    let (table, recovered) = reopened(table);
    assert_eq!((recovered, table.iter().count()), (Recovered { copies: 0, astray: 1 }, 1));
}

#[test]
fn a_table_of_another_layout_is_refused() {
    let control = zeroed(16);
    control[4].store(u64::from(MACTAB_SCHEMA + 1), Ordering::Relaxed);
    let error = MacTab::open(zeroed(80), control).err().unwrap();
    assert_eq!(error.to_string(), "the MAC table has layout 2, expected 1");

    let MacTab { control, .. } = table(100, SEED);
    let error = MacTab::open(zeroed(80), control).err().unwrap();
    assert_eq!(error.to_string(), "the MAC table has 100 buckets, expected 1 to 10");
}

#[test]
fn macs_that_collide_under_one_seed_do_not_under_another() {
    let buckets = 1000;
    let known = MacTabGeometry::new(SEED, buckets);
    let chosen =
        (0..u32::MAX).map(key).filter(|key| known.buckets_of(*key).iter().all(|bucket| *bucket < 30));
    let rows: Vec<_> = chosen.take(200).map(|key| (key, value(1))).collect();

    let mut guessed = table(1000, SEED);
    let crowded = guessed.put_all(&rows);
    assert!(crowded.iter().all(|(_, why)| *why == Put::Crowded) && crowded.len() >= 200 - 30 * SLOTS);
    let mut drawn = table(1000, rand::random());
    assert_eq!(drawn.put_all(&rows), []);
    assert!(drawn.moves() < 20, "{} moves for 200 keys in 4000 slots", drawn.moves());
}

#[test]
fn a_slot_gets_another_key_once_in_a_grace_period() {
    let grace = Grace::start().unwrap();
    let mut marks = Marks::new(4);
    marks.inserted(0);
    assert!(!marks.was_rekeyed(0), "nobody has seen another key there");
    marks.freed(0);
    marks.inserted(0);
    assert!(marks.was_rekeyed(0));
    assert!(marks.wait(&grace));
    assert!(!marks.was_rekeyed(0));
    assert!(!marks.wait(&grace), "nothing rests any more");

    // A grace period is over for what was marked before it began, not for what came after.
    marks.freed(1);
    marks.turn(&grace);
    marks.freed(2);
    marks.inserted(1);
    assert!(marks.wait(&grace) && marks.was_rekeyed(1));
    assert!(marks.wait(&grace) && !marks.was_rekeyed(1));
}

#[test]
fn a_domain_goes_whole_and_alone() {
    let mut table = table(100, SEED);
    let of = |bd, number: u8| MacKey::new(bd, [2, 0, 0, 0, 0, number]).unwrap();
    for number in 0..100 {
        table.put(of(1, number), value(1));
        table.put(of(2, number), value(2));
    }
    assert_eq!(table.remove_domain(1), 100);
    assert_eq!((table.len_of(1), table.len_of(2), table.len()), (0, 100, 100));
    assert!((0..100).all(|number| table.get(of(2, number)) == Some(value(2))));
}
