//! The PEM files of one side of a TLS connection, and how they become a rustls configuration.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier},
};
use serde::{Deserialize, Serialize};

/// Whether a server asks its clients for a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Every client has to show a certificate of `client_ca`.
    #[default]
    Required,
    /// A client may come without one (a browser on the same port); a bad one is refused all the
    /// same.
    Optional,
}

/// The files of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTlsFiles {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose clients are let in; without it clients are not asked for a
    /// certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// With `client_ca`: whether a certificate is `required` (default) or `optional`.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

/// The files of a client.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTlsFiles {
    /// The authorities whose servers are trusted.
    pub ca: PathBuf,
    /// The client's own certificate chain, if the server asks for one; needs `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// Why files did not become a TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {source}; expected {expected} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// What the parser said.
        source: pem::Error,
    },
    /// A client certificate without a key, or a key without a certificate.
    #[error("cert and key belong together: write both or none")]
    HalfPair,
    /// rustls refuses the certificate or the key (they do not belong together, say).
    #[error("{}: {source}", path.display())]
    Rejected {
        /// The file with the certificate.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The authorities cannot verify anybody.
    #[error("{}: {source}", path.display())]
    Verifier {
        /// The file with the authorities.
        path: PathBuf,
        /// What rustls said.
        source: VerifierBuilderError,
    },
}

/// The content of a set of files at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileSet(Vec<(PathBuf, Vec<u8>)>);

impl FileSet {
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| match fs::read(path) {
            Ok(content) => Ok((path.clone(), content)),
            Err(source) => Err(TlsError::Read {
                path: path.clone(),
                source,
            }),
        };
        paths.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// `path` is one of those that were read.
    fn content(&self, path: &Path) -> &[u8] {
        let found = self.0.iter().find(|(known, _)| known == path);
        found.map_or(&[], |(_, content)| content)
    }

    fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let bad = |source| TlsError::Pem {
            path: path.to_owned(),
            expected: "a certificate",
            source,
        };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(self.content(path))
            .collect::<Result<_, _>>()
            .map_err(bad)?;
        if certificates.is_empty() {
            Err(bad(pem::Error::NoItemsFound))
        } else {
            Ok(certificates)
        }
    }

    fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.content(path)).map_err(|source| TlsError::Pem {
            path: path.to_owned(),
            expected: "a private key",
            source,
        })
    }

    fn authorities(&self, path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(path)? {
            roots
                .add(certificate)
                .map_err(|source| TlsError::Rejected {
                    path: path.to_owned(),
                    source,
                })?;
        }
        Ok(Arc::new(roots))
    }
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(ring::default_provider()))
}

impl ServerTlsFiles {
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    pub(super) fn build(&self, files: &FileSet) -> Result<ServerConfig, TlsError> {
        let Self {
            cert,
            key,
            client_ca,
            client_auth,
        } = self;
        let rejected = |source| TlsError::Rejected {
            path: cert.clone(),
            source,
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(rejected)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    files.authorities(path)?,
                    provider(),
                );
                let verifier = match client_auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|source| TlsError::Verifier {
                    path: path.clone(),
                    source,
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = files.certificates(cert)?;
        check_end_entity(&chain).map_err(rejected)?;
        builder
            .with_single_cert(chain, files.key(key)?)
            .map_err(rejected)
    }
}

impl ClientTlsFiles {
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        [Some(&self.ca), self.cert.as_ref(), self.key.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    pub(super) fn build(&self, files: &FileSet) -> Result<ClientConfig, TlsError> {
        let Self { ca, cert, key } = self;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Rejected {
                path: ca.clone(),
                source,
            })?
            .with_root_certificates(files.authorities(ca)?);
        match (cert, key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(files.certificates(cert)?, files.key(key)?)
                .map_err(|source| TlsError::Rejected {
                    path: cert.clone(),
                    source,
                }),
            _ => Err(TlsError::HalfPair),
        }
    }
}

/// rustls parses the chain only at the first handshake; a file that can never serve one is refused
/// here.
fn check_end_entity(chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
    chain
        .first()
        .map_or(Ok(()), |first| ParsedCertificate::try_from(first).map(drop))
}
