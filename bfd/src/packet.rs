//! The control packet (RFC 5880 §4.1), in and out of bytes.

use std::fmt;

use thiserror::Error;

/// The mandatory section. What follows it is authentication, which we do not do.
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of the packet")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub diagnostic: Diagnostic,
    pub state: State,
    pub poll: bool,
    pub is_final: bool,
    /// The sender's BFD outlives its control plane.
    pub control_plane_independent: bool,
    pub demand: bool,
    pub detect_mult: u8,
    pub my_discriminator: u32,
    /// 0: the sender does not know it yet.
    pub your_discriminator: u32,
    /// Intervals are in microseconds.
    pub desired_min_tx_us: u32,
    /// 0: the sender wants no periodic packets.
    pub required_min_rx_us: u32,
    /// 0: the sender takes no echo packets.
    pub required_min_echo_rx_us: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    AdminDown = 0,
    Down = 1,
    Init = 2,
    Up = 3,
}

/// Why a session was last taken out of state Up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Diagnostic(u8);

/// Why bytes are no control packet for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PacketError {
    #[error("the packet has {found} bytes, a control packet has at least {}", Packet::LEN)]
    Short { found: usize },
    #[error("the version is {found}, not {}", Packet::VERSION)]
    Version { found: u8 },
    #[error("the length field says {field}, the packet has {found} bytes")]
    Length { field: u8, found: usize },
    #[error("the length field says {field}, without authentication it is {}", Packet::LEN)]
    Trailing { field: u8 },
    #[error("the packet is authenticated, and no authentication is configured; we support none")]
    Authenticated,
    #[error("bit \"multipoint\" is set, which is reserved")]
    Multipoint,
    #[error("the detection multiplier is 0")]
    DetectMult,
    #[error("the sender's discriminator is 0")]
    MyDiscriminator,
    #[error("the receiver's discriminator is 0 in state {state}, where the sender must know it")]
    YourDiscriminator { state: State },
    #[error("poll and final are both set")]
    PollAndFinal,
}

impl Packet {
    pub const LEN: usize = 24;
    pub const VERSION: u8 = 1;

    const POLL: u8 = 0x20;
    const FINAL: u8 = 0x10;
    const INDEPENDENT: u8 = 0x08;
    const AUTHENTICATED: u8 = 0x04;
    const DEMAND: u8 = 0x02;
    const MULTIPOINT: u8 = 0x01;

    /// Everything that RFC 5880 §6.8.6 asks of a packet before a session is looked for.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let Some(fixed) = bytes.first_chunk::<{ Self::LEN }>() else {
            return Err(PacketError::Short { found: bytes.len() });
        };
        let version = fixed[0] >> 5;
        if version != Self::VERSION {
            return Err(PacketError::Version { found: version });
        }
        let (flags, field) = (fixed[1], fixed[3]);
        if usize::from(field) > bytes.len() || usize::from(field) < Self::LEN {
            return Err(PacketError::Length { field, found: bytes.len() });
        }
        if flags & Self::AUTHENTICATED != 0 {
            return Err(PacketError::Authenticated);
        }
        if usize::from(field) != Self::LEN {
            return Err(PacketError::Trailing { field });
        }
        if flags & Self::MULTIPOINT != 0 {
            return Err(PacketError::Multipoint);
        }
        if flags & (Self::POLL | Self::FINAL) == Self::POLL | Self::FINAL {
            return Err(PacketError::PollAndFinal);
        }
        let packet = Self {
            diagnostic: Diagnostic(fixed[0] & Diagnostic::MASK),
            state: State::from_bits(flags >> 6),
            poll: flags & Self::POLL != 0,
            is_final: flags & Self::FINAL != 0,
            control_plane_independent: flags & Self::INDEPENDENT != 0,
            demand: flags & Self::DEMAND != 0,
            detect_mult: fixed[2],
            my_discriminator: word(fixed, 4),
            your_discriminator: word(fixed, 8),
            desired_min_tx_us: word(fixed, 12),
            required_min_rx_us: word(fixed, 16),
            required_min_echo_rx_us: word(fixed, 20),
        };
        packet.check().map(|()| packet)
    }

    fn check(&self) -> Result<(), PacketError> {
        if self.detect_mult == 0 {
            return Err(PacketError::DetectMult);
        }
        if self.my_discriminator == 0 {
            return Err(PacketError::MyDiscriminator);
        }
        if self.your_discriminator == 0 && matches!(self.state, State::Init | State::Up) {
            return Err(PacketError::YourDiscriminator { state: self.state });
        }
        Ok(())
    }

    pub fn bytes(&self) -> [u8; Self::LEN] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut bytes = [0; Self::LEN];
        bytes[0] = Self::VERSION << 5 | self.diagnostic.0;
        bytes[1] = (self.state as u8) << 6
            | flag(self.poll, Self::POLL)
            | flag(self.is_final, Self::FINAL)
            | flag(self.control_plane_independent, Self::INDEPENDENT)
            | flag(self.demand, Self::DEMAND);
        bytes[2] = self.detect_mult;
        bytes[3] = 24;
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx_us,
            self.required_min_rx_us,
            self.required_min_echo_rx_us,
        ];
        for (bytes, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

fn word(bytes: &[u8; Packet::LEN], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl State {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::AdminDown => "admin_down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Diagnostic {
    const MASK: u8 = 0x1f;

    pub const NONE: Self = Self(0);
    pub const TIME_EXPIRED: Self = Self(1);
    pub const NEIGHBOUR_DOWN: Self = Self(3);
    pub const PATH_DOWN: Self = Self(5);
    /// Something behind the sender has failed: the session is up, and frames should go elsewhere.
    pub const CONCATENATED_PATH_DOWN: Self = Self(6);
    pub const ADMIN_DOWN: Self = Self(7);
    pub const REVERSE_CONCATENATED_PATH_DOWN: Self = Self(8);

    /// As the field has it; `None` where it has no room.
    pub const fn from_code(code: u8) -> Option<Self> {
        if code <= Self::MASK { Some(Self(code)) } else { None }
    }

    pub const fn code(self) -> u8 {
        self.0
    }

    pub const fn meaning(self) -> &'static str {
        match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbour signalled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            _ => "reserved",
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.meaning())
    }
}
