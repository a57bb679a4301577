use super::Declared;
use crate::cluster::{shard_name, shard_of};

impl Declared {
    /// The same, each logical switch with the controller of its shard as its owner.
    #[must_use]
    pub fn sharded(&self, shards: u16) -> Self {
        let mut sharded = self.clone();
        for (name, switch) in &mut sharded.logical_switches {
            switch.logical_controller = Some(shard_name(shard_of(name, shards)));
        }
        sharded
    }

    /// The first name of a controller in it: with elections nobody is named.
    pub fn names_controller(&self) -> Option<String> {
        let mut switches = self.logical_switches.iter();
        if let Some((name, controller)) =
            switches.find_map(|(name, switch)| Some((name, switch.logical_controller.as_ref()?)))
        {
            return Some(format!(
                "logical switch \"{name}\" names the logical controller \"{controller}\"; expected none: with etcd \
                 each shard elects its own (`vtep-controller move` says who)"
            ));
        }
        let mut vteps = self.vteps.iter();
        let (name, controller) =
            vteps.find_map(|(name, vtep)| Some((name, vtep.physical_controller.as_ref()?)))?;
        Some(format!(
            "VTEP \"{name}\" names the physical controller \"{controller}\"; expected none: with etcd each VTEP elects \
             its own (`vtep-controller move` says who)"
        ))
    }
}
