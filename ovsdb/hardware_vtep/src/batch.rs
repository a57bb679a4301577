use std::collections::BTreeMap;
use std::net::IpAddr;

use ovsdb::transact::OutcomeError;
use ovsdb::{Cells, Reference, Row, Transaction, Uuid};

use crate::rows::{PhysicalLocator, VXLAN};

/// Writes that go into one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<W> {
    writes: Vec<W>,
    transaction: Transaction,
    /// To which write each operation belongs; none for a locator that several share.
    owners: Vec<Option<usize>>,
}

/// Turns writes into operations.
pub(crate) trait Compose<W> {
    /// Sees to it that what the write refers to, and others may too, is there.
    fn prepare(&mut self, write: &W, transaction: &mut Transaction);
    /// `index` is no other write's in this transaction.
    fn write(&mut self, index: usize, write: &W, transaction: &mut Transaction);
}

impl<W> Batch<W> {
    pub(crate) fn compose(
        mut transaction: Transaction,
        writes: Vec<W>,
        composer: &mut impl Compose<W>,
    ) -> Self {
        let mut owners = vec![None; transaction.len()];
        for (index, write) in writes.iter().enumerate() {
            composer.prepare(write, &mut transaction);
            owners.resize(transaction.len(), None);
            composer.write(index, write, &mut transaction);
            owners.resize(transaction.len(), Some(index));
        }
        Self { writes, transaction, owners }
    }

    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    pub fn writes(&self) -> &[W] {
        &self.writes
    }

    /// The write that the server will not have, if it is known.
    pub(crate) fn culprit(&self, error: &OutcomeError) -> Option<&W> {
        let named = match error {
            OutcomeError::Operation { index, .. } => self.owner(*index),
            _ => None,
        };
        named.or(if let [alone] = &self.writes[..] { Some(alone) } else { None })
    }

    fn owner(&self, operation: usize) -> Option<&W> {
        self.writes.get((*self.owners.get(operation)?)?)
    }
}

/// The locators that a transaction refers to: those that are there, whoever made them, since a second one like it would
/// fail the whole transaction; the others are inserted once.
#[derive(Debug, Default)]
pub(crate) struct Locators(BTreeMap<IpAddr, Reference>);

impl Locators {
    pub(crate) fn refer(
        &mut self,
        address: IpAddr,
        present: impl FnOnce() -> Option<Uuid>,
        transaction: &mut Transaction,
    ) -> Reference {
        let index = self.0.len();
        let refer = || {
            if let Some(uuid) = present() {
                return uuid.into();
            }
            let (name, reference) = named("locator", index);
            let cells = Cells::new().with("encapsulation_type", VXLAN).with("dst_ip", address.to_string());
            transaction.insert(PhysicalLocator::TABLE, Some(name), cells);
            reference
        };
        self.0.entry(address).or_insert_with(refer).clone()
    }
}

pub(crate) fn named(kind: &str, index: usize) -> (String, Reference) {
    let name = format!("{kind}{index}");
    (name.clone(), Reference::Named(name))
}
