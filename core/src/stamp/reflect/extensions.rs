//! What a reflector does with the TLVs of a request (RFC 8972 §4).
//!
//! - A type that is not known (or switched off, or that cannot be served now) is copied with U=1.
//! - A known one is answered, with U=0.
//! - From the first malformed one on everything is copied as it is, that TLV with M=1.
//! - If the HMAC TLV is wrong, missing or misplaced, nothing is used and all are copied with I=1.
//!
//! The answer to a TLV is as long as the TLV, so a reply is as long as its request; only a Reflected Test
//! Packet Control TLV in an orderly list can make it shorter, by leaving out padding.

use super::{DscpPolicy, ReflectedControlPolicy, SessionCounters};
use crate::stamp::tlv::{
    ClassOfService, DirectMeasurement, Flags, HEADER_OCTETS, Integrity, ReflectedControl,
    ReversePath, Tlv, TlvType, Tlvs,
};
use crate::stamp::{Key, Sequence};

/// The extensions of a request, checked once.
#[derive(Debug, Clone)]
pub(super) struct Extensions<'a> {
    octets: &'a [u8],
    /// Octets up to the first malformed TLV.
    well_formed: usize,
    integrity: Integrity,
    /// The first Reflected Test Packet Control TLV, if it is to be obeyed.
    control: Option<ReflectedControl>,
}

/// What the answers depend on.
pub(super) struct Context<'a> {
    pub(super) base_octets: usize,
    pub(super) sequence: Sequence,
    pub(super) key: Option<&'a Key>,
    pub(super) dscp: DscpPolicy,
    pub(super) traffic_class: Option<u8>,
    pub(super) counters: Option<SessionCounters>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) octets: usize,
    pub(super) dscp: Option<u8>,
}

impl<'a> Extensions<'a> {
    pub(super) fn examine(
        octets: &'a [u8],
        sequence: Sequence,
        key: Option<&Key>,
        policy: ReflectedControlPolicy,
    ) -> Self {
        let mut extensions = Self {
            octets,
            well_formed: 0,
            integrity: Integrity::NotNeeded,
            control: None,
        };
        // Nearly all packets: no extension, nothing to check.
        if octets.is_empty() {
            return extensions;
        }
        extensions.integrity = Integrity::check(octets, sequence, key);
        for tlv in Tlvs::new(octets).map_while(Result::ok) {
            extensions.well_formed += tlv.octets();
            if policy == ReflectedControlPolicy::Shorten
                && extensions.integrity != Integrity::Failed
                && extensions.control.is_none()
            {
                extensions.control = obeyed(&tlv);
            }
        }
        extensions
    }

    /// Whether the sender asks for no reply at all.
    pub(super) fn wants_no_reply(&self) -> bool {
        self.control.is_some_and(|control| control.replies == 0)
    }

    /// Whether there is padding, or the wish for a reply of another length.
    pub(super) fn change_size(&self) -> bool {
        Tlvs::new(self.octets)
            .map_while(Result::ok)
            .any(|tlv| matches!(tlv.kind, TlvType::ExtraPadding | TlvType::ReflectedControl))
    }

    /// Writes the answers to `buffer`, which is as long as the extensions.
    pub(super) fn answer(&self, context: &Context<'_>, buffer: &mut [u8]) -> Written {
        let shorten = self.control.filter(|_| self.is_well_formed());
        let mut written = Written::default();
        let mut control_answered = false;
        for tlv in Tlvs::new(&self.octets[..self.well_formed]).map_while(Result::ok) {
            if shorten.is_some() && tlv.kind == TlvType::ExtraPadding {
                continue;
            }
            let (answered, free) = buffer.split_at_mut(written.octets);
            let Some((header, value)) = free
                .get_mut(..tlv.octets())
                .and_then(<[u8]>::split_first_chunk_mut::<HEADER_OCTETS>)
            else {
                break;
            };
            value.copy_from_slice(tlv.value);
            let mut flags = match tlv.kind {
                TlvType::ExtraPadding => Flags::NONE,
                TlvType::Other(_) => Flags::UNRECOGNISED,
                _ if self.integrity == Integrity::Failed => Flags::NONE,
                TlvType::ClassOfService => context.answer_class_of_service(value, &mut written),
                TlvType::DirectMeasurement => context.answer_direct_measurement(value),
                TlvType::Hmac => context.sign(answered, value),
                TlvType::ReflectedControl if control_answered => Flags::UNRECOGNISED,
                TlvType::ReflectedControl => {
                    control_answered = true;
                    self.answer_control(context)
                }
            };
            if self.integrity == Integrity::Failed {
                flags = flags.with(Flags::INTEGRITY_FAILED);
            }
            let [_, kind, high, low] = header_of(&tlv);
            *header = [flags.0, kind, high, low];
            written.octets += tlv.octets();
        }
        if let Some(control) = shorten {
            written.octets += self.pad(control, context, &mut buffer[written.octets..]);
        } else {
            written.octets += self.copy_rest(&mut buffer[written.octets..]);
        }
        written
    }

    fn is_well_formed(&self) -> bool {
        self.well_formed == self.octets.len()
    }

    /// Copies the malformed TLV and what follows it.
    fn copy_rest(&self, buffer: &mut [u8]) -> usize {
        let rest = &self.octets[self.well_formed..];
        buffer[..rest.len()].copy_from_slice(rest);
        if let Some(flags) = buffer[..rest.len()].first_mut() {
            let integrity = match self.integrity {
                Integrity::Failed => Flags::INTEGRITY_FAILED,
                Integrity::Intact | Integrity::NotNeeded => Flags::NONE,
            };
            *flags = Flags::MALFORMED.with(integrity).0;
        }
        rest.len()
    }

    /// C=1 unless the reply will be exactly as asked.
    fn answer_control(&self, context: &Context<'_>) -> Flags {
        let Some(control) = self.control else {
            return Flags::UNRECOGNISED;
        };
        let received = context.base_octets + self.octets.len();
        let possible = aligned(control.reply_octets) <= received;
        if possible && control.replies == 1 && self.is_well_formed() {
            Flags::NONE
        } else {
            Flags::NOT_AS_ASKED
        }
    }

    /// Pads a shortened reply up to the wanted length, never beyond that of the request.
    fn pad(&self, control: ReflectedControl, context: &Context<'_>, free: &mut [u8]) -> usize {
        let answered = self.octets.len() - free.len();
        let missing = aligned(control.reply_octets)
            .saturating_sub(context.base_octets + answered)
            .min(free.len());
        let Some((header, value)) = free[..missing].split_first_chunk_mut::<HEADER_OCTETS>() else {
            return 0;
        };
        // A request has at most 9,216 octets, so the length fits its field.
        let [high, low] = (value.len() as u16).to_be_bytes();
        *header = [0, TlvType::ExtraPadding.as_octet(), high, low];
        value.fill(0);
        missing
    }
}

impl Context<'_> {
    /// Reports how the request arrived and decides how the reply leaves (RFC 8972 §4.4).
    fn answer_class_of_service(&self, value: &mut [u8], written: &mut Written) -> Flags {
        let (Some(traffic_class), Some(mut service)) =
            (self.traffic_class, ClassOfService::parse(value))
        else {
            return Flags::UNRECOGNISED;
        };
        service.received_dscp = traffic_class >> 2;
        service.received_ecn = traffic_class & 3;
        let dscp;
        (service.reverse_path, dscp) = match self.dscp {
            DscpPolicy::Honour => (ReversePath::AsRequested, service.requested_dscp),
            DscpPolicy::Refuse => (ReversePath::Refused, service.received_dscp),
        };
        written.dscp.get_or_insert(dscp);
        value.copy_from_slice(&service.encode());
        Flags::NONE
    }

    /// Fills in the reflector's counters (RFC 8972 §4.5).
    fn answer_direct_measurement(&self, value: &mut [u8]) -> Flags {
        let (Some(counters), Some(mut measurement)) =
            (self.counters, DirectMeasurement::parse(value))
        else {
            return Flags::UNRECOGNISED;
        };
        measurement.reflector_received = counters.received;
        measurement.reflector_sent = counters.sent;
        value.copy_from_slice(&measurement.encode());
        Flags::NONE
    }

    /// Authenticates the answers before it (RFC 8972 §4.8).
    fn sign(&self, answered: &[u8], value: &mut [u8]) -> Flags {
        let Some(key) = self.key else {
            return Flags::UNRECOGNISED;
        };
        value.copy_from_slice(&key.sign_tlvs(self.sequence, answered));
        Flags::NONE
    }
}

/// The control TLV that can be served: without sub-TLVs that select reflectors by their addresses.
fn obeyed(tlv: &Tlv<'_>) -> Option<ReflectedControl> {
    if tlv.kind != TlvType::ReflectedControl {
        return None;
    }
    let (control, sub_tlvs) = ReflectedControl::parse(tlv.value)?;
    Tlvs::new(sub_tlvs)
        .all(|sub| sub.is_ok_and(|sub| sub.kind == TlvType::Other(0)))
        .then_some(control)
}

/// Wanted lengths are rounded up to a multiple of four (RFC 10052 §3).
fn aligned(octets: u16) -> usize {
    usize::from(octets).next_multiple_of(4)
}

/// The header of a TLV without flags.
fn header_of(tlv: &Tlv<'_>) -> [u8; HEADER_OCTETS] {
    // The value was read with a length of 16 bits.
    let [high, low] = (tlv.value.len() as u16).to_be_bytes();
    [0, tlv.kind.as_octet(), high, low]
}
