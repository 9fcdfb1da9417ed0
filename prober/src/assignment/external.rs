//! Targets outside the mesh: what is asked of them, checked.

use std::sync::Arc;

use meshprobe_core::path::{Family, ProbeKind};
use meshprobe_proto::{convert, v1};
use rustls::pki_types::ServerName;
use url::Url;

use super::{AssignmentError, label};
use crate::external::trust;

/// Longest text that is looked for in a body.
const MAX_EXPECTED_BODY: usize = 1_024;

/// Most redirects that are followed.
const MAX_REDIRECTS: u32 = 10;

/// Longest PEM bundle of one target.
const MAX_CA_PEM: usize = 64 * 1_024;

/// A target outside the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExternalTarget {
    /// For people.
    pub name: String,
    /// What is asked.
    pub ask: Ask,
    /// The address family to reach it by.
    pub family: Family,
    /// The name that the certificate must have; `None`: the host.
    pub server_name: Option<String>,
    /// Certificates that the chain may end at beside the public ones, PEM; empty: none.
    pub ca_pem: Arc<str>,
}

/// What is asked of a target outside the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// That it accepts a connection.
    TcpConnect(HostPort),
    /// That the TLS handshake succeeds.
    Tls(HostPort),
    /// That it answers a request.
    Http(HttpAsk),
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name, or an IP literal without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A request and the response that is right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpAsk {
    /// `http` or `https`.
    pub url: Url,
    /// Statuses that are right; empty: 200 to 399.
    pub expected_statuses: Vec<u16>,
    /// What the body must contain; empty: anything.
    pub expected_body: String,
    /// Redirects that are followed.
    pub max_redirects: u8,
}

impl Ask {
    /// By which kind of probe.
    pub const fn kind(&self) -> ProbeKind {
        match self {
            Self::TcpConnect(_) => ProbeKind::TcpConnect,
            Self::Tls(_) => ProbeKind::Tls,
            Self::Http(_) => ProbeKind::Http,
        }
    }
}

impl HttpAsk {
    /// Is this the status of a healthy target?
    pub fn accepts(&self, status: u16) -> bool {
        if self.expected_statuses.is_empty() {
            return (200..400).contains(&status);
        }
        self.expected_statuses.contains(&status)
    }
}

impl TryFrom<v1::ExternalTarget> for ExternalTarget {
    type Error = AssignmentError;

    fn try_from(message: v1::ExternalTarget) -> Result<Self, AssignmentError> {
        label("external target", &message.name)?;
        let refused = |reason: String| AssignmentError::External {
            name: message.name.clone(),
            reason,
        };
        if message.ca_pem.len() > MAX_CA_PEM {
            return Err(refused(format!(
                "more than {MAX_CA_PEM} octets of certificates"
            )));
        }
        if !message.ca_pem.is_empty() {
            match trust::certificates(message.ca_pem.as_bytes()) {
                Ok(found) if found.is_empty() => {
                    return Err(refused("ca_pem has no certificate in PEM".to_owned()));
                }
                Ok(_) => {}
                Err(reason) => return Err(refused(format!("ca_pem: {reason}"))),
            }
        }
        if !message.server_name.is_empty()
            && ServerName::try_from(message.server_name.as_str()).is_err()
        {
            let reason = format!("server name {:?} is none for TLS", message.server_name);
            return Err(refused(reason));
        }
        let ask = match convert::probe_kind(message.kind)? {
            ProbeKind::TcpConnect => Ask::TcpConnect(host_port(&message.address).map_err(refused)?),
            ProbeKind::Tls => Ask::Tls(host_port(&message.address).map_err(refused)?),
            ProbeKind::Http => Ask::Http(http(&message).map_err(refused)?),
            other => return Err(refused(format!("{other} is no kind for external targets"))),
        };
        let family = match message.family() {
            v1::Family::Unspecified => Family::V4,
            _ => convert::family(message.family)?,
        };
        Ok(Self {
            ask,
            family,
            server_name: (!message.server_name.is_empty()).then_some(message.server_name),
            ca_pem: message.ca_pem.into(),
            name: message.name,
        })
    }
}

fn host_port(text: &str) -> Result<HostPort, String> {
    let wrong =
        || format!("{text:?} is not host:port, such as db.example.com:5432 or [2001:db8::1]:443");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(wrong)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(wrong)?,
        None => host,
    };
    // One parser for hosts, that of URLs: names, IPv4 and IPv6 literals, nothing else.
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    url::Host::parse(&bracketed).map_err(|_| wrong())?;
    Ok(HostPort {
        host: host.to_owned(),
        port,
    })
}

fn http(message: &v1::ExternalTarget) -> Result<HttpAsk, String> {
    let url =
        Url::parse(&message.url).map_err(|error| format!("URL {:?}: {error}", message.url))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!(
            "URL {:?}: http:// or https:// and a host are taken",
            message.url
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL has a password; requests are sent without any".to_owned());
    }
    if message.expected_body.len() > MAX_EXPECTED_BODY {
        return Err(format!(
            "expected body of more than {MAX_EXPECTED_BODY} octets"
        ));
    }
    if message.max_redirects > MAX_REDIRECTS {
        return Err(format!(
            "{} redirects; at most {MAX_REDIRECTS} are followed",
            message.max_redirects
        ));
    }
    let status = |status: &u32| {
        let status = u16::try_from(*status)
            .ok()
            .filter(|s| (100..600).contains(s));
        status.ok_or_else(|| "an expected status that is not in 100..=599".to_owned())
    };
    Ok(HttpAsk {
        url,
        expected_statuses: message
            .expected_statuses
            .iter()
            .map(status)
            .collect::<Result<_, _>>()?,
        expected_body: message.expected_body.clone(),
        max_redirects: message.max_redirects as u8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: v1::ProbeKind) -> v1::ExternalTarget {
        v1::ExternalTarget {
            name: "shop".into(),
            kind: kind.into(),
            address: "shop.example.com:443".into(),
            url: "https://shop.example.com/health".into(),
            ..v1::ExternalTarget::default()
        }
    }

    #[test]
    fn each_kind_has_its_ask() {
        for kind in [
            v1::ProbeKind::TcpConnect,
            v1::ProbeKind::Tls,
            v1::ProbeKind::Http,
        ] {
            let checked = ExternalTarget::try_from(target(kind)).unwrap();
            assert_eq!(v1::ProbeKind::from(checked.ask.kind()), kind);
            assert_eq!(checked.family, Family::V4);
        }
    }

    #[test]
    fn hosts_are_names_or_literals_with_a_port() {
        let parsed = |text| host_port(text).map(|h| (h.host, h.port));
        assert_eq!(parsed("[2001:db8::1]:443"), Ok(("2001:db8::1".into(), 443)));
        assert_eq!(parsed("192.0.2.1:25"), Ok(("192.0.2.1".into(), 25)));
        for wrong in [
            "shop.example.com",
            "shop.example.com:0",
            ":443",
            "a b:1",
            "[::1:1",
            "h:65536",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_the_reason() {
        type Change = fn(&mut v1::ExternalTarget);
        let cases: [(&str, Change); 10] = [
            ("udp is no kind", |t| t.kind = v1::ProbeKind::Udp.into()),
            ("http:// or https://", |t| {
                t.url = "ftp://shop.example.com/".into();
            }),
            ("relative URL", |t| t.url = "shop".into()),
            ("11 redirects", |t| t.max_redirects = 11),
            ("100..=599", |t| t.expected_statuses = vec![99]),
            ("octets of certificates", |t| {
                t.ca_pem = "x".repeat(MAX_CA_PEM + 1);
            }),
            ("no certificate in PEM", |t| t.ca_pem = "x".into()),
            ("certificate 1 does not parse", |t| {
                t.ca_pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into();
            }),
            ("server name \"a b\"", |t| t.server_name = "a b".into()),
            ("without any", |t| {
                t.url = "https://u:secret@shop.example.com/".into();
            }),
        ];
        for (expected, change) in cases {
            let mut message = target(v1::ProbeKind::Http);
            change(&mut message);
            let error = ExternalTarget::try_from(message).unwrap_err().to_string();
            assert!(
                error.contains(expected),
                "{error:?} should contain {expected:?}"
            );
        }
    }

    #[test]
    fn statuses_default_to_success_and_redirection() {
        let Ask::Http(mut ask) = ExternalTarget::try_from(target(v1::ProbeKind::Http))
            .unwrap()
            .ask
        else {
            panic!("not http");
        };
        assert!(ask.accepts(204) && ask.accepts(302) && !ask.accepts(502));
        ask.expected_statuses = vec![401];
        assert!(ask.accepts(401) && !ask.accepts(200));
    }
}
