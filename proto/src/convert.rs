//! Enumerations: wire numbers to domain words and back.
//!
//! An unknown or unspecified number is an error on the way in: a newer prober's kinds are refused by name instead of
//! being taken for something else.

use meshprobe_core::finding::Confidence;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::verdict::Verdict;

use crate::v1;

/// A number on the wire that names nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} number {number}")]
pub struct UnknownNumber {
    /// Which enumeration.
    pub what: &'static str,
    /// The number that was sent.
    pub number: i32,
}

macro_rules! wire_enum {
    ($domain:ident, $what:literal, { $($name:ident),+ $(,)? }) => {
        impl From<$domain> for v1::$domain {
            fn from(value: $domain) -> Self {
                match value { $($domain::$name => Self::$name),+ }
            }
        }

        impl TryFrom<v1::$domain> for $domain {
            type Error = UnknownNumber;

            fn try_from(value: v1::$domain) -> Result<Self, UnknownNumber> {
                match value {
                    $(v1::$domain::$name => Ok(Self::$name),)+
                    v1::$domain::Unspecified => Err(UnknownNumber { what: $what, number: 0 }),
                }
            }
        }
    };
}

wire_enum!(ProbeKind, "probe kind", {
    Udp, Tcp, DnsUdp, DnsTcp, Mtu, Quic, Icmp, DnsSearch, Service, TcpConnect, Tls, Http,
});
wire_enum!(Plane, "plane", { Pod, Host, Service });
wire_enum!(Family, "family", { V4, V6 });
wire_enum!(OutcomeClass, "outcome class", {
    Reply, Late, Timeout, Refused, Unreachable, TooBig, SendFailed, Invalid, WrongAnswer, Rcode, Reset,
    AnsweredByOther, TlsFailed, HttpStatus,
});
wire_enum!(Confidence, "confidence", { Suspected, Likely, Certain });
wire_enum!(Verdict, "verdict", { NotSampled, NoData, Healthy, Slow, Lossy, Suspect, Down });

/// The probe kind with this wire number.
pub fn probe_kind(number: i32) -> Result<ProbeKind, UnknownNumber> {
    let unknown = UnknownNumber {
        what: "probe kind",
        number,
    };
    v1::ProbeKind::try_from(number)
        .map_err(|_| unknown)?
        .try_into()
}

/// The plane with this wire number.
pub fn plane(number: i32) -> Result<Plane, UnknownNumber> {
    let unknown = UnknownNumber {
        what: "plane",
        number,
    };
    v1::Plane::try_from(number).map_err(|_| unknown)?.try_into()
}

/// The family with this wire number.
pub fn family(number: i32) -> Result<Family, UnknownNumber> {
    let unknown = UnknownNumber {
        what: "family",
        number,
    };
    v1::Family::try_from(number)
        .map_err(|_| unknown)?
        .try_into()
}

/// The outcome class with this wire number.
pub fn outcome_class(number: i32) -> Result<OutcomeClass, UnknownNumber> {
    let unknown = UnknownNumber {
        what: "outcome class",
        number,
    };
    v1::OutcomeClass::try_from(number)
        .map_err(|_| unknown)?
        .try_into()
}

/// The layer that three wire numbers name.
pub fn layer(kind: i32, plane_number: i32, family_number: i32) -> Result<Layer, UnknownNumber> {
    Ok(Layer {
        kind: probe_kind(kind)?,
        plane: plane(plane_number)?,
        family: family(family_number)?,
    })
}

impl From<Layer> for v1::Layer {
    fn from(layer: Layer) -> Self {
        Self {
            kind: v1::ProbeKind::from(layer.kind).into(),
            plane: v1::Plane::from(layer.plane).into(),
            family: v1::Family::from(layer.family).into(),
        }
    }
}

impl TryFrom<&v1::Layer> for Layer {
    type Error = UnknownNumber;

    fn try_from(wire: &v1::Layer) -> Result<Self, UnknownNumber> {
        layer(wire.kind, wire.plane, wire.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_words_survive_the_wire() {
        for kind in ProbeKind::ALL {
            assert_eq!(probe_kind(v1::ProbeKind::from(kind) as i32), Ok(kind));
        }
        for class in OutcomeClass::ALL {
            assert_eq!(
                outcome_class(v1::OutcomeClass::from(class) as i32),
                Ok(class)
            );
            assert_eq!(v1::OutcomeClass::from(class) as i32, class as i32);
        }
        for verdict in Verdict::ALL {
            assert_eq!(v1::Verdict::from(verdict) as i32, verdict as i32);
        }
    }

    #[test]
    fn numbers_that_name_nothing_are_refused() {
        assert!(probe_kind(0).is_err());
        assert_eq!(
            plane(77).map_err(|e| e.to_string()),
            Err("unknown plane number 77".to_owned())
        );
    }
}
