//! The values of the TLVs that carry fields.

/// The request for, and the report on, DSCP and ECN (RFC 8972 §4.4 with erratum 8199).
///
/// `DSCP1(6) DSCP2(6) ECN(2) RP(2) reserved(16)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClassOfService {
    /// DSCP1: the code point that the sender wants in the reply, 0 to 63.
    pub requested_dscp: u8,
    /// DSCP2: the code point that the request arrived with; differs from what was sent if somebody re-marks.
    pub received_dscp: u8,
    /// ECN bits that the request arrived with, 0 to 3.
    pub received_ecn: u8,
    /// RP: what the reflector did about DSCP1.
    pub reverse_path: ReversePath,
}

/// The RP field: whether the reply carries the requested code point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReversePath {
    /// 0: it does (and in a request: nothing yet).
    #[default]
    AsRequested,
    /// 1: local policy forbids it; the reply carries the code point of the request.
    Refused,
    /// 2 or 3, which RFC 8972 does not define.
    Undefined(u8),
}

impl ClassOfService {
    /// Octets of the value.
    pub const OCTETS: usize = 4;

    /// The value as it travels.
    pub const fn encode(&self) -> [u8; Self::OCTETS] {
        let reverse_path = match self.reverse_path {
            ReversePath::AsRequested => 0,
            ReversePath::Refused => 1,
            ReversePath::Undefined(bits) => bits & 3,
        };
        let dscp2 = self.received_dscp & 63;
        [
            (self.requested_dscp & 63) << 2 | dscp2 >> 4,
            (dscp2 & 15) << 4 | (self.received_ecn & 3) << 2 | reverse_path,
            0,
            0,
        ]
    }

    /// The value as received; `None` if it has not [`Self::OCTETS`].
    pub fn parse(value: &[u8]) -> Option<Self> {
        let [first, second, ..] = *<&[u8; Self::OCTETS]>::try_from(value).ok()?;
        Some(Self {
            requested_dscp: first >> 2,
            received_dscp: (first & 3) << 4 | second >> 4,
            received_ecn: second >> 2 & 3,
            reverse_path: match second & 3 {
                0 => ReversePath::AsRequested,
                1 => ReversePath::Refused,
                bits => ReversePath::Undefined(bits),
            },
        })
    }
}

/// Packet counters of a session at both ends (RFC 8972 §4.5): loss by direction from one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DirectMeasurement {
    /// `S_TxC`: packets sent by the sender.
    pub sender_sent: u32,
    /// `R_RxC`: packets received by the reflector.
    pub reflector_received: u32,
    /// `R_TxC`: packets sent by the reflector.
    pub reflector_sent: u32,
}

impl DirectMeasurement {
    /// Octets of the value.
    pub const OCTETS: usize = 12;

    /// The value as it travels.
    pub fn encode(&self) -> [u8; Self::OCTETS] {
        let mut value = [0; Self::OCTETS];
        value[..4].copy_from_slice(&self.sender_sent.to_be_bytes());
        value[4..8].copy_from_slice(&self.reflector_received.to_be_bytes());
        value[8..].copy_from_slice(&self.reflector_sent.to_be_bytes());
        value
    }

    /// The value as received; `None` if it has not [`Self::OCTETS`].
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = <&[u8; Self::OCTETS]>::try_from(value).ok()?;
        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| value[at + i]));
        Some(Self {
            sender_sent: word(0),
            reflector_received: word(4),
            reflector_sent: word(8),
        })
    }
}

/// How replies should differ from the request (RFC 10052 §3). Used to ask for a small reply to a large
/// request, so that the MTU is tested in one direction only.
///
/// `length(16) number(16) interval(32) sub-TLVs`. Sub-TLVs select the reflectors of a multicast group;
/// they are not used here, and an empty one fills the value to its smallest size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReflectedControl {
    /// Wanted length of the reply's UDP payload in octets, rounded up to a multiple of 4; a reply is never
    /// shorter than its base packet and TLVs without padding, so 0 asks for the shortest one.
    pub reply_octets: u16,
    /// Wanted number of replies; 0 asks for none.
    pub replies: u16,
    /// Wanted time between two replies in nanoseconds.
    pub interval_nanos: u32,
}

impl ReflectedControl {
    /// Fewest octets of the value.
    pub const MIN_OCTETS: usize = 12;

    /// One reply, as short as it can be.
    pub const SHORTEST_REPLY: Self = Self {
        reply_octets: 0,
        replies: 1,
        interval_nanos: 0,
    };

    /// The value as it travels, with an empty sub-TLV.
    pub fn encode(&self) -> [u8; Self::MIN_OCTETS] {
        let mut value = [0; Self::MIN_OCTETS];
        value[..2].copy_from_slice(&self.reply_octets.to_be_bytes());
        value[2..4].copy_from_slice(&self.replies.to_be_bytes());
        value[4..8].copy_from_slice(&self.interval_nanos.to_be_bytes());
        value
    }

    /// The value as received and its sub-TLVs; `None` if it is too short.
    pub fn parse(value: &[u8]) -> Option<(Self, &[u8])> {
        if value.len() < Self::MIN_OCTETS {
            return None;
        }
        let (fields, sub_tlvs) = value.split_first_chunk::<8>()?;
        let [l1, l2, n1, n2, i1, i2, i3, i4] = *fields;
        let control = Self {
            reply_octets: u16::from_be_bytes([l1, l2]),
            replies: u16::from_be_bytes([n1, n2]),
            interval_nanos: u32::from_be_bytes([i1, i2, i3, i4]),
        };
        Some((control, sub_tlvs))
    }
}
