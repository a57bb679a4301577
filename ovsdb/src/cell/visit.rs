use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::Atom;
use crate::Uuid;
use crate::word::WordSeed;

/// Takes the elements of a set, or the one that stands bare.
pub(super) trait Elements {
    type Atom: Atom;

    fn element(&mut self, atom: Self::Atom) -> Result<(), &'static str>;

    fn end(&mut self) -> Result<(), &'static str> {
        Ok(())
    }
}

pub(super) fn read_elements<'de, D, S>(cell: D, elements: &mut S) -> Result<(), D::Error>
where
    D: Deserializer<'de>,
    S: Elements,
{
    cell.deserialize_any(CellVisitor(elements))
}

struct CellVisitor<'a, S>(&'a mut S);

impl<S: Elements> CellVisitor<'_, S> {
    fn one<E: de::Error>(self, atom: Option<S::Atom>, found: de::Unexpected<'_>) -> Result<(), E> {
        let atom = atom.ok_or_else(|| E::invalid_value(found, &S::Atom::EXPECTED))?;
        self.0.element(atom).and_then(|()| self.0.end()).map_err(E::custom)
    }
}

impl<'de, S: Elements> Visitor<'de> for CellVisitor<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a set of it", S::Atom::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.one(S::Atom::from_text(text), de::Unexpected::Str(text))
    }

    fn visit_i64<E: de::Error>(self, integer: i64) -> Result<(), E> {
        self.one(S::Atom::from_integer(integer), de::Unexpected::Signed(integer))
    }

    fn visit_u64<E: de::Error>(self, integer: u64) -> Result<(), E> {
        let atom = i64::try_from(integer).ok().and_then(S::Atom::from_integer);
        self.one(atom, de::Unexpected::Unsigned(integer))
    }

    fn visit_f64<E: de::Error>(self, real: f64) -> Result<(), E> {
        self.one(S::Atom::from_real(real), de::Unexpected::Float(real))
    }

    fn visit_bool<E: de::Error>(self, boolean: bool) -> Result<(), E> {
        self.one(S::Atom::from_boolean(boolean), de::Unexpected::Bool(boolean))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut cell: A) -> Result<(), A::Error> {
        match required::<Tag, _>(&mut cell)? {
            Tag::Uuid => {
                let uuid = required::<Uuid, _>(&mut cell)?;
                self.one(S::Atom::from_uuid(uuid), de::Unexpected::Other("a UUID"))?;
            }
            Tag::Set => {
                cell.next_element_seed(SetSeed(&mut *self.0))?
                    .ok_or_else(|| de::Error::custom("set has no list"))?;
                self.0.end().map_err(de::Error::custom)?;
            }
            Tag::Map => return Err(de::Error::custom("map stands where no map is expected")),
        }
        closed(&mut cell)
    }
}

/// What begins each array in a cell.
enum Tag {
    Uuid,
    Set,
    Map,
}

impl<'de> de::Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match WordSeed(&["uuid", "set", "map"]).deserialize(deserializer)? {
            Some(0) => Ok(Self::Uuid),
            Some(1) => Ok(Self::Set),
            Some(2) => Ok(Self::Map),
            _ => Err(de::Error::custom("array of a cell begins with none of uuid, set, map")),
        }
    }
}

fn required<'de, T: de::Deserialize<'de>, A: SeqAccess<'de>>(cell: &mut A) -> Result<T, A::Error> {
    cell.next_element()?.ok_or_else(|| de::Error::custom("array of a cell ends early"))
}

fn closed<'de, A: SeqAccess<'de>>(cell: &mut A) -> Result<(), A::Error> {
    match cell.next_element::<de::IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(de::Error::custom("array of a cell is too long")),
    }
}

struct SetSeed<'a, S>(&'a mut S);

impl<'de, S: Elements> DeserializeSeed<'de> for SetSeed<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<(), D::Error> {
        list.deserialize_seq(self)
    }
}

impl<'de, S: Elements> Visitor<'de> for SetSeed<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the elements of a set")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(atom) = list.next_element_seed(AtomSeed(PhantomData))? {
            self.0.element(atom).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

/// One atom, which is a cell that may not be a set.
struct AtomSeed<T>(PhantomData<T>);

impl<'de, T: Atom> DeserializeSeed<'de> for AtomSeed<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, atom: D) -> Result<T, D::Error> {
        atom.deserialize_any(self)
    }
}

impl<T: Atom> AtomSeed<T> {
    fn accept<E: de::Error>(atom: Option<T>, found: de::Unexpected<'_>) -> Result<T, E> {
        atom.ok_or_else(|| E::invalid_value(found, &T::EXPECTED))
    }
}

impl<'de, T: Atom> Visitor<'de> for AtomSeed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        Self::accept(T::from_text(text), de::Unexpected::Str(text))
    }

    fn visit_i64<E: de::Error>(self, integer: i64) -> Result<T, E> {
        Self::accept(T::from_integer(integer), de::Unexpected::Signed(integer))
    }

    fn visit_u64<E: de::Error>(self, integer: u64) -> Result<T, E> {
        let atom = i64::try_from(integer).ok().and_then(T::from_integer);
        Self::accept(atom, de::Unexpected::Unsigned(integer))
    }

    fn visit_f64<E: de::Error>(self, real: f64) -> Result<T, E> {
        Self::accept(T::from_real(real), de::Unexpected::Float(real))
    }

    fn visit_bool<E: de::Error>(self, boolean: bool) -> Result<T, E> {
        Self::accept(T::from_boolean(boolean), de::Unexpected::Bool(boolean))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut atom: A) -> Result<T, A::Error> {
        let Tag::Uuid = required(&mut atom)? else {
            return Err(de::Error::custom("set or map stands where a single value is expected"));
        };
        let uuid = required(&mut atom)?;
        closed(&mut atom)?;
        Self::accept(T::from_uuid(uuid), de::Unexpected::Other("a UUID"))
    }
}

/// Takes the pairs of a map.
pub(super) trait Pairs {
    type Key: Atom;
    type Value: Atom;

    fn pair(&mut self, key: Self::Key, value: Self::Value);
}

pub(super) fn read_pairs<'de, D, M>(cell: D, pairs: &mut M) -> Result<(), D::Error>
where
    D: Deserializer<'de>,
    M: Pairs,
{
    cell.deserialize_seq(MapVisitor(pairs))
}

struct MapVisitor<'a, M>(&'a mut M);

impl<'de, M: Pairs> Visitor<'de> for MapVisitor<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map from {} to {}", M::Key::EXPECTED, M::Value::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut cell: A) -> Result<(), A::Error> {
        let Tag::Map = required(&mut cell)? else { return Err(de::Error::custom("a map has another tag")) };
        cell.next_element_seed(PairsSeed(self.0))?.ok_or_else(|| de::Error::custom("map has no list"))?;
        closed(&mut cell)
    }
}

struct PairsSeed<'a, M>(&'a mut M);

impl<'de, M: Pairs> DeserializeSeed<'de> for PairsSeed<'_, M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<(), D::Error> {
        list.deserialize_seq(self)
    }
}

impl<'de, M: Pairs> Visitor<'de> for PairsSeed<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pairs of a map")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some((key, value)) = list.next_element_seed(PairSeed(PhantomData::<M>))? {
            self.0.pair(key, value);
        }
        Ok(())
    }
}

struct PairSeed<M>(PhantomData<M>);

impl<'de, M: Pairs> DeserializeSeed<'de> for PairSeed<M> {
    type Value = (M::Key, M::Value);

    fn deserialize<D: Deserializer<'de>>(self, pair: D) -> Result<Self::Value, D::Error> {
        pair.deserialize_seq(self)
    }
}

impl<'de, M: Pairs> Visitor<'de> for PairSeed<M> {
    type Value = (M::Key, M::Value);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of a key and a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Self::Value, A::Error> {
        let short = || de::Error::custom("pair of a map ends early");
        let key = pair.next_element_seed(AtomSeed(PhantomData))?.ok_or_else(short)?;
        let value = pair.next_element_seed(AtomSeed(PhantomData))?.ok_or_else(short)?;
        closed(&mut pair)?;
        Ok((key, value))
    }
}
