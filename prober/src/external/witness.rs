//! Judges a server's certificate and remembers it, also when the judgement is bad: its end of validity and its names
//! are what people need then.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::CertificateFacts;
use super::trust::Authorities;

/// What was presented.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The server's own certificate; `None`: it does not parse.
    pub facts: Option<CertificateFacts>,
    /// When it was judged, seconds since the Unix epoch.
    pub now: i64,
    /// Its subject is its issuer.
    pub is_self_signed: bool,
}

/// The verifier of one handshake.
#[derive(Debug)]
pub struct Witness {
    authorities: Arc<Authorities>,
    presented: Mutex<Option<Presented>>,
}

impl Witness {
    /// Judges by `authorities`.
    pub fn new(authorities: Arc<Authorities>) -> Self {
        Self {
            authorities,
            presented: Mutex::new(None),
        }
    }

    /// What the server presented; `None`: it did not come to that.
    pub fn presented(&self) -> Option<Presented> {
        self.presented.lock().clone()
    }

    /// A certificate that is listed as it is needs no authority: it is the one that is meant, if name and time are
    /// right.
    fn judge_listed(
        &self,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        facts: Option<&CertificateFacts>,
        now: i64,
    ) -> Option<Result<ServerCertVerified, Error>> {
        if !self.authorities.own.iter().any(|own| own == end_entity) {
            return None;
        }
        let facts = facts?;
        if now > facts.not_after {
            return Some(Err(CertificateError::Expired.into()));
        }
        if now < facts.not_before {
            return Some(Err(CertificateError::NotValidYet.into()));
        }
        let named = ParsedCertificate::try_from(end_entity)
            .and_then(|parsed| verify_server_name(&parsed, server_name));
        Some(named.map(|()| ServerCertVerified::assertion()))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let facts = CertificateFacts::parse(end_entity);
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let listed = self.judge_listed(end_entity, server_name, facts.as_ref(), seconds);
        *self.presented.lock() = Some(Presented {
            is_self_signed: facts.as_ref().is_some_and(|f| f.subject == f.issuer),
            facts,
            now: seconds,
        });
        match listed {
            Some(judged) => judged,
            None => self.authorities.verifier.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = &self.authorities.verifier;
        verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = &self.authorities.verifier;
        verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.verifier.supported_verify_schemes()
    }
}
