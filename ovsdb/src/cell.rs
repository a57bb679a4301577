//! Cells as they stand on the wire (RFC 7047 §5.1, `<value>`), decoded straight into the fields of typed rows.
//!
//! A set of one element may arrive bare, an optional column is a set of none or one, a reference is
//! `["uuid", text]`. In an `update2` the cell of a modified set or map holds only the difference.

mod visit;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserializer;

use self::visit::{Elements, Pairs, read_elements, read_pairs};
use crate::Uuid;

/// What a received cell says about the field it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The value.
    Whole,
    /// For sets and maps, what to change: an element is put in if absent and taken out if present; for all else, the
    /// value.
    Difference,
}

/// A field of a typed row.
pub trait Cell {
    fn read<'de, D: Deserializer<'de>>(&mut self, cell: D, mode: Mode) -> Result<(), D::Error>;
}

/// A single value: one of RFC 7047's `<atom>`s, or a type that is written as one. A refused value ends the session,
/// since a server checks what its schema says: a type with narrower bounds keeps the refused text as a variant.
pub trait Atom: Sized {
    /// What an error says was expected, such as "an integer".
    const EXPECTED: &'static str;

    fn from_text(_: &str) -> Option<Self> {
        None
    }

    fn from_integer(_: i64) -> Option<Self> {
        None
    }

    fn from_real(_: f64) -> Option<Self> {
        None
    }

    fn from_boolean(_: bool) -> Option<Self> {
        None
    }

    fn from_uuid(_: Uuid) -> Option<Self> {
        None
    }
}

impl Atom for String {
    const EXPECTED: &'static str = "a string";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// Without the room that a `String` keeps to grow.
impl Atom for Box<str> {
    const EXPECTED: &'static str = "a string";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

impl Atom for i64 {
    const EXPECTED: &'static str = "an integer";

    fn from_integer(integer: i64) -> Option<Self> {
        Some(integer)
    }
}

impl Atom for f64 {
    const EXPECTED: &'static str = "a real number";

    #[expect(
        clippy::cast_precision_loss,
        reason = "a real column's whole numbers are written without a point"
    )]
    fn from_integer(integer: i64) -> Option<Self> {
        Some(integer as Self)
    }

    fn from_real(real: f64) -> Option<Self> {
        Some(real)
    }
}

impl Atom for bool {
    const EXPECTED: &'static str = "a boolean";

    fn from_boolean(boolean: bool) -> Option<Self> {
        Some(boolean)
    }
}

impl Atom for Uuid {
    const EXPECTED: &'static str = "a UUID";

    fn from_uuid(uuid: Uuid) -> Option<Self> {
        Some(uuid)
    }
}

impl<T: Atom> Cell for T {
    fn read<'de, D: Deserializer<'de>>(&mut self, cell: D, _: Mode) -> Result<(), D::Error> {
        read_elements(cell, &mut One { field: self, read: false })
    }
}

struct One<'a, T> {
    field: &'a mut T,
    read: bool,
}

impl<T: Atom> Elements for One<'_, T> {
    type Atom = T;

    fn element(&mut self, atom: T) -> Result<(), &'static str> {
        *self.field = atom;
        if std::mem::replace(&mut self.read, true) { Err("two values for one") } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), &'static str> {
        if self.read { Ok(()) } else { Err("an empty set for one value") }
    }
}

impl<T: Atom> Cell for Option<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, cell: D, _: Mode) -> Result<(), D::Error> {
        *self = None;
        read_elements(cell, self)
    }
}

impl<T: Atom> Elements for Option<T> {
    type Atom = T;

    fn element(&mut self, atom: T) -> Result<(), &'static str> {
        if self.replace(atom).is_some() { Err("two values for an optional one") } else { Ok(()) }
    }
}

impl<T: Atom + Ord> Cell for BTreeSet<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, cell: D, mode: Mode) -> Result<(), D::Error> {
        if mode == Mode::Whole {
            self.clear();
        }
        read_elements(cell, self)
    }
}

impl<T: Atom + Ord> Elements for BTreeSet<T> {
    type Atom = T;

    /// A whole set starts empty and has no element twice, so one rule serves both modes.
    fn element(&mut self, atom: T) -> Result<(), &'static str> {
        if !self.remove(&atom) {
            self.insert(atom);
        }
        Ok(())
    }
}

impl<K: Atom + Ord, V: Atom + PartialEq> Cell for BTreeMap<K, V> {
    fn read<'de, D: Deserializer<'de>>(&mut self, cell: D, mode: Mode) -> Result<(), D::Error> {
        if mode == Mode::Whole {
            self.clear();
        }
        read_pairs(cell, self)
    }
}

impl<K: Atom + Ord, V: Atom + PartialEq> Pairs for BTreeMap<K, V> {
    type Key = K;
    type Value = V;

    /// `ovsdb-server.7`, "update2": an equal pair is taken out, any other is put in or takes the old one's place.
    fn pair(&mut self, key: K, value: V) {
        if self.get(&key) == Some(&value) {
            self.remove(&key);
        } else {
            self.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "cases read better without borrows")]
    fn check<T: Cell + PartialEq + Debug>(mut field: T, cell: &str, mode: Mode, expected: Option<T>) {
        let read = field.read(&mut serde_json::Deserializer::from_str(cell), mode);
        assert_eq!(read.ok().map(|()| field), expected, "{cell}");
    }

    const UUID: &str = r#"["uuid","00000000-0000-0000-0000-000000000007"]"#;

    #[test]
    fn a_set_of_one_arrives_bare_or_wrapped() {
        let seven = Uuid::from_u128(7);
        for cell in [UUID.to_owned(), format!(r#"["set",[{UUID}]]"#)] {
            check(BTreeSet::new(), &cell, Mode::Whole, Some(BTreeSet::from([seven])));
            check(None, &cell, Mode::Whole, Some(Some(seven)));
            check(Uuid::ZERO, &cell, Mode::Whole, Some(seven));
        }
        check(0, "-5", Mode::Whole, Some(-5));
        check(0.5, "2", Mode::Whole, Some(2.0));
        check(String::new(), r#""a\"b""#, Mode::Whole, Some("a\"b".to_owned()));
    }

    #[test]
    fn an_optional_column_is_a_set_of_none_or_one() {
        check(Some(3), r#"["set",[]]"#, Mode::Difference, Some(None));
        check(Some(3), "4", Mode::Difference, Some(Some(4)));
        check(Some(3), r#"["set",[4,5]]"#, Mode::Whole, None);
        check(3, r#"["set",[]]"#, Mode::Whole, None);
    }

    #[test]
    fn a_difference_toggles_elements_and_replaces_values() {
        let set = BTreeSet::from([1, 2]);
        check(set.clone(), r#"["set",[2,3]]"#, Mode::Difference, Some(BTreeSet::from([1, 3])));
        check(set, r#"["set",[2,3]]"#, Mode::Whole, Some(BTreeSet::from([2, 3])));
        let map = BTreeMap::from([(1, true), (2, true)]);
        let cell = r#"["map",[[1,true],[2,false],[3,true]]]"#;
        check(map, cell, Mode::Difference, Some(BTreeMap::from([(2, false), (3, true)])));
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        for cell in
            ["5", "null", "{}", r#"["set"]"#, r#"["set",[],1]"#, r#"["bag",[]]"#, UUID, "[]", r#"["map",[]]"#]
        {
            check(String::new(), cell, Mode::Whole, None);
        }
        for cell in [
            r#""x""#,
            r#"["map",[[1]]]"#,
            r#"["map",[[1,true,1]]]"#,
            r#"["set",[]]"#,
            r#"["map",[[true,1]]]"#,
        ] {
            check(BTreeMap::<i64, bool>::new(), cell, Mode::Whole, None);
        }
        check(Uuid::ZERO, r#"["uuid","x"]"#, Mode::Whole, None);
        check(0_i64, "18446744073709551615", Mode::Whole, None);
    }
}
