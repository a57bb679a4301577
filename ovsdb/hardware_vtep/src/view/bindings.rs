use std::collections::BTreeMap;

use ovsdb::{Row, Uuid};
use vtep_api::{LogicalSwitchName, NameError, PortName, VlanId, VtepName};

use super::refusal::{Reason, Refusals};
use super::switches::Switches;
use crate::mirror::Mirror;
use crate::rows::{PhysicalPort, PhysicalSwitch};

pub(super) type Bindings = BTreeMap<(PortName, VlanId), LogicalSwitchName>;

pub(super) fn derive(
    mirror: &Mirror,
    device: &VtepName,
    switches: &Switches,
    refusals: &mut Refusals,
) -> Bindings {
    let mut bindings = Bindings::new();
    for (port, (uuid, row)) in mirror.ports::<PortName>(device, refusals) {
        for (&vlan, &switch) in &row.vlan_bindings {
            let vlan = match VlanId::try_from(vlan) {
                Ok(vlan) => vlan,
                Err(source) => {
                    refusals.push(PhysicalPort::TABLE, uuid, Reason::Vlan { port: port.clone(), source });
                    continue;
                }
            };
            // One that is not ready waits for its key, or was refused by name.
            if let Some((name, _)) = switches.ready.get(&switch) {
                bindings.insert((port.clone(), vlan), name.clone());
            }
        }
    }
    bindings
}

impl Mirror {
    /// The row of a device, if it is there. Names are unique in this table.
    pub fn physical_switch(&self, device: &VtepName) -> Option<(Uuid, &PhysicalSwitch)> {
        self.physical_switches.iter().find(|(_, row)| row.name == device.as_str())
    }

    /// The ports of a device by name. Names are not unique in this table: of two rows the lower counts.
    pub(crate) fn ports<N>(
        &self,
        device: &VtepName,
        refusals: &mut Refusals,
    ) -> BTreeMap<N, (Uuid, &PhysicalPort)>
    where
        N: for<'a> TryFrom<&'a str, Error = NameError> + Ord,
    {
        let mut ports: BTreeMap<N, (Uuid, &PhysicalPort)> = BTreeMap::new();
        let Some((_, switch)) = self.physical_switch(device) else { return ports };
        for &uuid in &switch.ports {
            let Some(row) = self.physical_ports.row(uuid) else { continue };
            let port = match N::try_from(row.name.as_str()) {
                Ok(port) => port,
                Err(error) => {
                    refusals.push(PhysicalPort::TABLE, uuid, error);
                    continue;
                }
            };
            match ports.get(&port) {
                Some(&(kept, _)) => {
                    refusals.push(
                        PhysicalPort::TABLE,
                        uuid,
                        Reason::PortTwice { port: row.name.clone(), kept },
                    );
                }
                None => {
                    ports.insert(port, (uuid, row));
                }
            }
        }
        ports
    }
}
