//! What is probed, how often: intervals that may be partial in the file and are complete here.

use std::{fmt, time::Duration};

use meshprobe_core::path::ProbeKind;
use meshprobe_daemon::config::HumanDuration;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// How the absence of an interval is written.
const OFF: &str = "off";
/// Peers that each prober probes by QUIC, where nobody says otherwise (MEASUREMENT.md §2).
const QUIC_SAMPLE: u16 = 10;

/// Time between two probes of one path, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// This kind is not sent.
    Off,
    /// So much time.
    Every(HumanDuration),
}

impl Interval {
    /// `None`: off.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Every(interval) => Some(interval.duration()),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str(OFF),
            Self::Every(interval) => interval.fmt(f),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Interval;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("off or a duration such as 500ms, 10s or 2m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Interval, E> {
                if text == OFF {
                    return Ok(Interval::Off);
                }
                let interval: HumanDuration = text.parse().map_err(E::custom)?;
                // What files of older versions have.
                if interval.duration().is_zero() {
                    return Ok(Interval::Off);
                }
                Ok(Interval::Every(interval))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// How often one kind probes a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KindInterval {
    /// Time between two probes of one path.
    pub interval: Interval,
    /// Longest wait for an answer.
    pub timeout: HumanDuration,
}

/// How often QUIC probes a path, and how many paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QuicInterval {
    /// Time between two probes of one path.
    pub interval: Interval,
    /// Longest wait for an answer.
    pub timeout: HumanDuration,
    /// Peers that each prober probes by QUIC; all, if there are fewer.
    pub sample: u16,
}

/// What is probed, how often.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "Written")]
pub struct Probing {
    /// When all is well, one report in this time.
    pub report_interval: HumanDuration,
    /// STAMP between nodes. Not given: once a second, twice where there are at most three nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<KindInterval>,
    /// TCP between nodes.
    pub tcp: KindInterval,
    /// The largest packet that passes between nodes.
    pub mtu: KindInterval,
    /// QUIC between nodes.
    pub quic: QuicInterval,
    /// ICMP echo between nodes.
    pub icmp: KindInterval,
    /// DNS over UDP.
    pub dns_udp: KindInterval,
    /// DNS over TCP.
    pub dns_tcp: KindInterval,
    /// The names of `dns_search`.
    pub dns_search: KindInterval,
    /// The virtual IPs of `services`.
    pub service: KindInterval,
    /// Targets of `external` by TCP.
    pub tcp_connect: KindInterval,
    /// Targets of `external` by TLS.
    pub tls: KindInterval,
    /// Targets of `external` by HTTP.
    pub http: KindInterval,
}

impl Default for Probing {
    fn default() -> Self {
        let KindInterval { interval, timeout } = default_of(ProbeKind::Quic);
        Self {
            report_interval: HumanDuration::from_secs(10),
            udp: None,
            tcp: default_of(ProbeKind::Tcp),
            mtu: default_of(ProbeKind::Mtu),
            quic: QuicInterval {
                interval,
                timeout,
                sample: QUIC_SAMPLE,
            },
            icmp: default_of(ProbeKind::Icmp),
            dns_udp: default_of(ProbeKind::DnsUdp),
            dns_tcp: default_of(ProbeKind::DnsTcp),
            dns_search: default_of(ProbeKind::DnsSearch),
            service: default_of(ProbeKind::Service),
            tcp_connect: default_of(ProbeKind::TcpConnect),
            tls: default_of(ProbeKind::Tls),
            http: default_of(ProbeKind::Http),
        }
    }
}

impl Probing {
    /// Each kind with its interval.
    pub fn kinds(&self) -> [(ProbeKind, KindInterval); 12] {
        ProbeKind::ALL.map(|kind| (kind, self.kind(kind)))
    }

    fn kind(&self, kind: ProbeKind) -> KindInterval {
        match kind {
            ProbeKind::Udp => self.udp.unwrap_or(default_of(kind)),
            ProbeKind::Tcp => self.tcp,
            ProbeKind::DnsUdp => self.dns_udp,
            ProbeKind::DnsTcp => self.dns_tcp,
            ProbeKind::Mtu => self.mtu,
            ProbeKind::Quic => KindInterval {
                interval: self.quic.interval,
                timeout: self.quic.timeout,
            },
            ProbeKind::Icmp => self.icmp,
            ProbeKind::DnsSearch => self.dns_search,
            ProbeKind::Service => self.service,
            ProbeKind::TcpConnect => self.tcp_connect,
            ProbeKind::Tls => self.tls,
            ProbeKind::Http => self.http,
        }
    }
}

/// What MEASUREMENT.md §2 says.
fn default_of(kind: ProbeKind) -> KindInterval {
    let (interval, timeout) = match kind {
        ProbeKind::Udp => (1_000, 250),
        ProbeKind::Service => (1_000, 1_000),
        ProbeKind::Tcp | ProbeKind::Icmp | ProbeKind::DnsUdp | ProbeKind::DnsTcp => (5_000, 1_000),
        // What is outside has to be known in fifteen seconds, and one loss says nothing.
        ProbeKind::TcpConnect => (5_000, 4_000),
        ProbeKind::Tls => (10_000, 5_000),
        ProbeKind::Http => (10_000, 10_000),
        ProbeKind::Quic => (30_000, 1_000),
        ProbeKind::DnsSearch => (30_000, 5_000),
        ProbeKind::Mtu => (60_000, 6_000),
    };
    KindInterval {
        // A kernel may forbid it, and it tells little that UDP does not.
        interval: if kind == ProbeKind::Icmp {
            Interval::Off
        } else {
            Interval::Every(HumanDuration::from_millis(interval))
        },
        timeout: HumanDuration::from_millis(timeout),
    }
}

/// [`Probing`] as a file has it: what is left out stays as it is by default.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    report_interval: Option<HumanDuration>,
    udp: Option<WrittenKind>,
    tcp: Option<WrittenKind>,
    mtu: Option<WrittenKind>,
    quic: Option<WrittenQuic>,
    icmp: Option<WrittenKind>,
    dns_udp: Option<WrittenKind>,
    dns_tcp: Option<WrittenKind>,
    dns_search: Option<WrittenKind>,
    service: Option<WrittenKind>,
    tcp_connect: Option<WrittenKind>,
    tls: Option<WrittenKind>,
    http: Option<WrittenKind>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fields {
    interval: Option<Interval>,
    timeout: Option<HumanDuration>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QuicFields {
    interval: Option<Interval>,
    timeout: Option<HumanDuration>,
    sample: Option<u16>,
}

/// The fields of a kind, or the word `off`.
#[derive(Clone, Copy)]
struct WordOr<T>(Option<T>);

type WrittenKind = WordOr<Fields>;
type WrittenQuic = WordOr<QuicFields>;

impl<'de, T: Deserialize<'de>> Deserialize<'de> for WordOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = WordOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("off, or fields such as {interval: 5s, timeout: 1s}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WordOr<T>, E> {
                if text == OFF {
                    return Ok(WordOr(None));
                }
                Err(E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WordOr<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|fields| WordOr(Some(fields)))
            }
        }

        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl WrittenKind {
    fn over(self, default: KindInterval) -> KindInterval {
        let Some(fields) = self.0 else {
            return KindInterval {
                interval: Interval::Off,
                ..default
            };
        };
        KindInterval {
            interval: fields.interval.unwrap_or(default.interval),
            timeout: fields.timeout.unwrap_or(default.timeout),
        }
    }
}

impl WrittenQuic {
    fn over(self, default: QuicInterval) -> QuicInterval {
        let Some(fields) = self.0 else {
            return QuicInterval {
                interval: Interval::Off,
                ..default
            };
        };
        QuicInterval {
            interval: fields.interval.unwrap_or(default.interval),
            timeout: fields.timeout.unwrap_or(default.timeout),
            sample: fields.sample.unwrap_or(default.sample),
        }
    }
}

impl From<Written> for Probing {
    fn from(written: Written) -> Self {
        let Written {
            report_interval,
            udp,
            tcp,
            mtu,
            quic,
            icmp,
            dns_udp,
            dns_tcp,
            dns_search,
            service,
            tcp_connect,
            tls,
            http,
        } = written;
        let default = Self::default();
        let over = |written: Option<WrittenKind>, default: KindInterval| {
            written.map_or(default, |written| written.over(default))
        };
        Self {
            report_interval: report_interval.unwrap_or(default.report_interval),
            udp: udp.map(|written| written.over(default_of(ProbeKind::Udp))),
            tcp: over(tcp, default.tcp),
            mtu: over(mtu, default.mtu),
            quic: quic.map_or(default.quic, |written| written.over(default.quic)),
            icmp: over(icmp, default.icmp),
            dns_udp: over(dns_udp, default.dns_udp),
            dns_tcp: over(dns_tcp, default.dns_tcp),
            dns_search: over(dns_search, default.dns_search),
            service: over(service, default.service),
            tcp_connect: over(tcp_connect, default.tcp_connect),
            tls: over(tls, default.tls),
            http: over(http, default.http),
        }
    }
}
