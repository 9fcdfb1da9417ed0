//! A TLS handshake, and why it failed, for people.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, ProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::span;
use super::trust::{Authorities, Trust};
use super::witness::{Presented, Witness};

/// What a handshake came to.
pub struct Handshake {
    /// What the server presented, whatever came of it.
    pub presented: Option<Presented>,
    /// The stream, or why there is none.
    pub stream: Result<Box<TlsStream<TcpStream>>, String>,
}

/// Makes a handshake without resumption, so that its time is comparable and the certificate is always seen.
pub async fn shake_hands(
    trust: &Trust,
    authorities: Arc<Authorities>,
    name: ServerName<'static>,
    speaks_http: bool,
    stream: TcpStream,
) -> Handshake {
    let witness = Arc::new(Witness::new(authorities));
    let config = match client_config(trust, Arc::clone(&witness), speaks_http) {
        Ok(config) => config,
        Err(error) => {
            return Handshake {
                presented: None,
                stream: Err(error.to_string()),
            };
        }
    };
    let shaken = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    let presented = witness.presented();
    let stream = match shaken {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(failure(&error, presented.as_ref())),
    };
    Handshake { presented, stream }
}

fn client_config(
    trust: &Trust,
    witness: Arc<Witness>,
    speaks_http: bool,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(trust.provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(witness)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    if speaks_http {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok(config)
}

/// The name of a TLS version.
pub fn version_name(version: Option<ProtocolVersion>) -> String {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

/// Why a handshake failed, for people.
fn failure(error: &io::Error, presented: Option<&Presented>) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    let Some(inner) = inner else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "server closed during the handshake".to_owned(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "server reset the connection during the handshake".to_owned()
            }
            _ => format!("handshake: {error}"),
        };
    };
    match inner {
        Error::InvalidCertificate(reason) => certificate_failure(reason, presented),
        Error::AlertReceived(alert) => format!("server sent the alert {}", alert_name(*alert)),
        Error::PeerIncompatible(reason) => {
            format!("server has no protocol version or cipher in common ({reason:?})")
        }
        Error::InvalidMessage(_) => "server does not speak TLS".to_owned(),
        Error::NoCertificatesPresented => "server presented no certificate".to_owned(),
        other => other.to_string(),
    }
}

fn certificate_failure(reason: &CertificateError, presented: Option<&Presented>) -> String {
    let Some(presented) = presented else {
        return format!("certificate: {reason}");
    };
    let Some(facts) = &presented.facts else {
        return "certificate does not parse".to_owned();
    };
    let expired = (presented.now > facts.not_after).then(|| {
        let ago = span(presented.now.abs_diff(facts.not_after));
        format!("certificate expired {ago} ago")
    });
    let text = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            // If not its own, that of an authority between it and the root.
            return expired.unwrap_or_else(|| {
                "a certificate between the server's and the authority's expired".to_owned()
            });
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let wait = span(facts.not_before.abs_diff(presented.now));
            format!("certificate is not valid before {wait} from now")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("certificate is for {}", facts.hosts())
        }
        CertificateError::UnknownIssuer if presented.is_self_signed => {
            format!("self-signed certificate of {}", facts.subject)
        }
        CertificateError::UnknownIssuer => format!("unknown issuer {}", facts.issuer),
        CertificateError::Other(_) if presented.is_self_signed => {
            // An authority's certificate that the server presents as its own.
            format!("self-signed certificate of {}", facts.subject)
        }
        CertificateError::BadSignature => {
            format!("not signed by the known authority {}", facts.issuer)
        }
        CertificateError::Revoked => "certificate was revoked".to_owned(),
        CertificateError::BadEncoding => "certificate does not parse".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for servers".to_owned()
        }
        other => format!("certificate: {other}"),
    };
    match expired {
        Some(expired) => format!("{text}; {expired}"),
        None => text,
    }
}

/// As RFC 8446 writes it.
fn alert_name(alert: AlertDescription) -> String {
    let name = format!("{alert:?}");
    let mut text = String::with_capacity(name.len() + 4);
    for (i, c) in name.char_indices() {
        if c.is_ascii_uppercase() && i > 0 && !name[..i].ends_with(|c: char| c.is_uppercase()) {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::certificate::CertificateFacts;
    use super::*;

    const DAY: i64 = 86_400;

    fn presented(now: i64) -> Presented {
        Presented {
            facts: Some(CertificateFacts {
                not_before: 0,
                not_after: 100 * DAY,
                subject: "CN=other.example.com".into(),
                issuer: "CN=Some CA".into(),
                names: vec!["other.example.com".into()],
                further_names: 0,
            }),
            now,
            is_self_signed: false,
        }
    }

    #[test]
    fn each_bad_certificate_has_its_reason() {
        let cases = [
            (
                CertificateError::Expired,
                103 * DAY,
                "certificate expired 3 days ago",
            ),
            (
                CertificateError::NotValidYet,
                -2 * DAY,
                "certificate is not valid before 2 days from now",
            ),
            (
                CertificateError::NotValidForName,
                DAY,
                "certificate is for other.example.com",
            ),
            (
                CertificateError::UnknownIssuer,
                DAY,
                "unknown issuer CN=Some CA",
            ),
            (
                CertificateError::UnknownIssuer,
                101 * DAY,
                "unknown issuer CN=Some CA; certificate expired 1 day ago",
            ),
            (
                CertificateError::Expired,
                DAY,
                "a certificate between the server's and the authority's expired",
            ),
        ];
        for (reason, now, expected) in cases {
            let text = certificate_failure(&reason, Some(&presented(now)));
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn alerts_have_their_names_of_the_standard() {
        assert_eq!(
            alert_name(AlertDescription::HandshakeFailure),
            "handshake_failure"
        );
        assert_eq!(
            alert_name(AlertDescription::ProtocolVersion),
            "protocol_version"
        );
    }

    #[test]
    fn an_end_in_the_middle_is_told_as_such() {
        let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(failure(&closed, None), "server closed during the handshake");
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(failure(&reset, None).contains("reset"));
    }
}
