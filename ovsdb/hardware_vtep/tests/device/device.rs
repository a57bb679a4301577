//! A device on a database of its own, run the way an agent runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hardware_vtep::device::plan;
use hardware_vtep::{Changes, DATABASE, DesiredDevice, DesiredPort, DeviceView, LocalMac, Mirror, Writer};
use ovsdb::{Event, Events, Handle, SessionConfig, TransactError, session};
use vtep_api::{LogicalSwitchName, MacAddr, PortName, VtepName};

use crate::server::{DEADLINE, Server};

pub(crate) const OWN: &str = "192.0.2.100";

pub(crate) struct Device {
    pub(crate) handle: Handle,
    events: Events,
    pub(crate) mirror: Mirror,
    pub(crate) writer: Writer,
    pub(crate) desired: DesiredDevice,
    /// What the last update changed.
    pub(crate) changes: Changes,
    pub(crate) transactions: usize,
}

pub(crate) fn name(name: &str) -> VtepName {
    name.try_into().unwrap()
}

pub(crate) fn switch(name: &str) -> LogicalSwitchName {
    name.try_into().unwrap()
}

pub(crate) fn port(name: &str) -> PortName {
    name.try_into().unwrap()
}

pub(crate) fn mac(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

pub(crate) fn desired() -> DesiredDevice {
    DesiredDevice {
        name: name("host1"),
        tunnel_address: ip(OWN),
        faults: BTreeSet::new(),
        ports: BTreeMap::from([
            (port("tap0"), DesiredPort::default()),
            (port("tap1"), DesiredPort::default()),
        ]),
        networks: BTreeMap::new(),
        tunnels: BTreeMap::new(),
    }
}

pub(crate) fn macs(macs: &[MacAddr]) -> BTreeMap<MacAddr, LocalMac> {
    macs.iter().map(|&mac| (mac, LocalMac::default())).collect()
}

impl Device {
    /// Connected, with the database as it is.
    pub(crate) async fn observe(server: &Server) -> Self {
        let mut config = SessionConfig::new(server.unix().parse().unwrap(), DATABASE, Mirror::monitor());
        config.backoff.ceiling_min = Duration::from_millis(100);
        config.backoff.ceiling_max = Duration::from_millis(200);
        let (handle, events) = session::spawn(config);
        let mut device = Self {
            handle,
            events,
            mirror: Mirror::default(),
            writer: Writer::default(),
            desired: desired(),
            changes: Changes::default(),
            transactions: 0,
        };
        device.until("the first dump", |device| device.mirror.is_synchronized()).await;
        device
    }

    /// Connected, with the database as it should be.
    pub(crate) async fn start(server: &Server) -> Self {
        let mut device = Self::observe(server).await;
        device.settle().await;
        device
    }

    pub(crate) async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        let event = event.expect("an event before the deadline").expect("the session goes on");
        self.apply(&event);
        event
    }

    fn apply(&mut self, event: &Event) {
        if let Some(changes) = self.mirror.apply(event) {
            self.changes = changes;
        }
    }

    pub(crate) async fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                let event = self.events.recv().await.expect("the session goes on");
                self.apply(&event);
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what} did not come"));
    }

    /// The view once it is as expected.
    pub(crate) async fn view_where(
        &mut self,
        what: &str,
        condition: impl Fn(&DeviceView) -> bool,
    ) -> DeviceView {
        self.until(what, |device| condition(&device.view())).await;
        self.view()
    }

    pub(crate) fn view(&self) -> DeviceView {
        self.mirror.device_view(&self.desired.name)
    }

    /// Takes in whatever was committed before now.
    pub(crate) async fn catch_up(&mut self) {
        let handle = self.handle.clone();
        self.reply(handle.echo()).await.unwrap();
    }

    /// Writes until nothing is left to write.
    pub(crate) async fn settle(&mut self) {
        while let Some(batch) = self.writer.next(&self.mirror, &self.desired) {
            let handle = self.handle.clone();
            self.transactions += 1;
            match self.reply(handle.transact(batch.transaction().clone())).await {
                Ok(_) => self.writer.landed(&batch),
                Err(TransactError::Outcome(error)) => self.writer.failed(&batch, &error),
                Err(error @ TransactError::Request(_)) => panic!("{error}"),
            }
        }
        let left = plan(&self.mirror, &self.desired);
        assert_eq!(left.len(), self.writer.refused().count(), "{left:?}");
    }

    async fn reply<T>(&mut self, reply: impl Future<Output = T>) -> T {
        tokio::pin!(reply);
        let waiting = async {
            loop {
                tokio::select! {
                    reply = &mut reply => return reply,
                    event = self.events.recv() => self.apply(&event.expect("the session goes on")),
                }
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect("a reply before the deadline")
    }
}
