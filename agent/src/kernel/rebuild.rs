//! New maps beside the pinned ones, filled, and programs on the links that read them: every frame meets the old maps or
//! the new ones, whole. A kill at any step leaves one of the two under `maps`, and [`Pins::settle`] clears the other.

use vtep_abi::map;

use super::error::KernelError;
use super::fdb::Fdb;
use super::layout::Layout;
use super::pins::{self, Pins};
use super::programs::{Object, Programs};
use super::{Kernel, MacTable, Maps, hold, mactab};

/// What a seed is of.
const BUCKETED: [&str; 2] = [map::MACTAB, map::MACCTL];

impl Kernel {
    /// Gives the bucketed MAC table another seed, while programs read: for MACs that find no room under the one it has.
    /// All other maps stay. False if there is no such table, or if the next seed has no room for all of it either;
    /// nothing is changed then.
    pub fn reseed(&mut self) -> Result<bool, KernelError> {
        if self.mac_table != MacTable::Bucketed {
            return Ok(false);
        }
        self.pins.settle()?;
        self.pins.create_next_maps()?;
        let next = self.pins.next_maps();
        for (name, map) in self.held.iter().filter(|(name, _)| !BUCKETED.contains(name)) {
            let pin = next.join(name);
            map.pin(&pin).map_err(|source| pins::failed(&pin, source))?;
        }
        let object = Object { bytes: &self.object, mac_table: self.mac_table };
        let mut programs = Programs::load(&object, &self.layouts, &next)?;
        let (mut fdb, _) = Fdb::open(&next, self.mac_table)?;
        if !self.maps.fdb.copy_table_to(&mut fdb) {
            self.pins.settle()?;
            return Ok(false);
        }
        // While these still lie under the next maps: what fails from here on leaves the maps in use in our hands.
        let held = hold(&next)?;
        programs.follow(&self.programs);
        if let Err(error) = programs.adopt(&self.pins) {
            // All links read one table again, whichever of them was changed.
            self.programs.adopt(&self.pins)?;
            self.pins.settle()?;
            return Err(error);
        }
        self.programs = programs;
        self.maps.fdb = fdb;
        self.held = held;
        self.pins.promote_next_maps()?;
        Ok(true)
    }
}

/// Makes maps of the wanted sizes and fills them. Counters start anew.
pub(super) fn resize(
    pins: &Pins,
    object: &Object<'_>,
    layouts: &[Layout],
    resized: &[(&'static str, u32)],
) -> Result<(Programs, Maps), KernelError> {
    pins.create_next_maps()?;
    let programs = Programs::load(object, layouts, &pins.next_maps())?;
    let mut maps = Maps::open(&pins.next_maps(), object.mac_table)?;
    let kind = Fdb::kind(&pins.maps())?;
    let Some(full) = Maps::open(&pins.maps(), kind)?.copy_to(&mut maps)? else {
        return Ok((programs, maps));
    };
    pins.settle()?;
    let entries = |room| if full == map::MACTAB { mactab::entries_for(room) } else { room };
    let had = resized.iter().find(|(name, _)| *name == full).map_or(0, |(_, had)| entries(*had));
    let wanted = layouts.iter().find(|layout| layout.name == full);
    let wanted = wanted.map_or(0, |layout| entries(layout.capacity));
    Err(KernelError::Shrunk { map: full, had, wanted })
}
