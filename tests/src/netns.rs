//! Network namespaces: a host, a TOR or a VM each.

use std::{
    fmt, fs,
    fs::File,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

/// Clones are the same namespace; it goes, and all links in it, when the last one does.
#[derive(Clone)]
pub struct Netns(Arc<Namespace>);

struct Namespace {
    name: String,
}

impl Netns {
    /// Loopback is up, and IPv6 is off: no router solicitations among the frames that a test counts.
    pub fn new(role: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vtepd-{}-{}-{role}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        output(Command::new("ip").args(["netns", "add", &name]))?;
        let netns = Self(Arc::new(Namespace { name }));
        netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        netns.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// With IPv6, addresses usable at once.
    pub fn with_ipv6(role: &str) -> Result<Self> {
        let netns = Self::new(role)?;
        for conf in ["all", "default"] {
            netns.sysctl(&format!("net.ipv6.conf.{conf}.accept_dad"), "0")?;
            netns.sysctl(&format!("net.ipv6.conf.{conf}.disable_ipv6"), "0")?;
        }
        netns.sysctl("net.ipv6.conf.lo.disable_ipv6", "0")?;
        Ok(netns)
    }

    /// As `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// A program inside. Not by `ip netns exec`, which mounts another /sys and so hides bpffs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a line of words inside to its success, and returns what it printed.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().context("an empty line has no program")?;
        output(self.command(program).args(words))
    }

    /// `ip`, inside.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        output(self.command("ip").args(arguments.split_whitespace()))
    }

    /// Lines of `ip`, inside, by one process.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), lines)?;
        output(self.command("ip").arg("-batch").arg(file.path())).map(drop)
    }

    /// Nothing gets in or out any more, and nobody is told: what is sent is dropped. Its own loopback works.
    pub fn cut_off(&self) -> Result<()> {
        self.run("nft add table inet cut")?;
        for (hook, loopback) in [("input", "iifname"), ("output", "oifname")] {
            let chain = format!("inet cut {hook} {{ type filter hook {hook} priority 0 ; policy drop ; }}");
            self.run(&format!("nft add chain {chain}"))?;
            self.run(&format!("nft add rule inet cut {hook} {loopback} lo accept"))?;
        }
        Ok(())
    }

    /// Nothing gets to these addresses or comes from them any more, and nobody is told; all else goes on.
    pub fn cut_off_from(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        self.run("nft add table inet cut")?;
        for (hook, end) in [("input", "saddr"), ("output", "daddr")] {
            let chain = format!("inet cut {hook} {{ type filter hook {hook} priority 0 ; }}");
            self.run(&format!("nft add chain {chain}"))?;
            for address in addresses {
                self.run(&format!("nft add rule inet cut {hook} ip {end} {address} drop"))?;
            }
        }
        Ok(())
    }

    /// Undoes [`Self::cut_off`] and [`Self::cut_off_from`].
    pub fn rejoin(&self) -> Result<()> {
        self.run("nft delete table inet cut").map(drop)
    }

    /// Asks an HTTP server on the namespace's loopback. Returns status line and body.
    pub fn http_get(&self, port: u16, path: &str) -> Result<(String, String)> {
        let answer = self.within(|| -> io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })??;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
        let status = head.lines().next().context("the answer has no status line")?;
        Ok((status.to_owned(), body.to_owned()))
    }

    /// `key` with dots, as sysctl(8) writes it.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.within(|| fs::write(&path, value))?.with_context(|| format!("{key} cannot be set in {self}"))
    }

    /// On a thread of its own inside the namespace. Sockets that it opens stay there.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let handle = File::open(self.path()).with_context(|| format!("{self} is gone"))?;
        let inside = move || setns(handle, CloneFlags::CLONE_NEWNET).map(|()| work());
        let done = thread::scope(|scope| scope.spawn(inside).join());
        match done {
            Ok(result) => result.with_context(|| format!("{self} cannot be entered")),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespace {}", self.name())
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Namespace {
    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = output(Command::new("ip").args(["netns", "delete", &self.name])) {
            eprintln!("namespace {} was left behind: {error:#}", self.name);
        }
    }
}

/// Runs a command to its success, and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("{command:?} could not be started"))?;
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let complaint = String::from_utf8_lossy(&done.stderr);
        bail!("{command:?} failed ({}): {}{}", done.status, complaint.trim(), printed.trim());
    }
    Ok(printed)
}
