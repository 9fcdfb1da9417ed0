//! Whom a certificate chain may end at: the public authorities, those of this prober's own file, those of the target.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncReadExt as _;
use tracing::warn;

/// Longest file of authorities.
const MAX_FILE: u64 = 1 << 20;

/// Sets of authorities that are kept ready: one for each target that has its own.
const MAX_READY: usize = 256;

/// Authorities, and what judges a chain by them.
#[derive(Debug)]
pub struct Authorities {
    /// Judges chains.
    pub verifier: Arc<WebPkiServerVerifier>,
    /// Those that are not public. A server may present one of them itself: a self-signed certificate.
    pub own: Vec<CertificateDer<'static>>,
}

/// Whom to trust. The own file is read again at each use, so a renewed one is taken without a restart.
#[derive(Debug)]
pub struct Trust {
    file: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// As it was read last, good or not.
    octets: Vec<u8>,
    /// The last good one.
    local: Vec<CertificateDer<'static>>,
    ready: HashMap<Arc<str>, Arc<Authorities>>,
}

/// Why a file or a text gives no authorities.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It has no certificates.
    #[error("{whose}: {reason}")]
    Certificates {
        /// A file, or whose text.
        whose: String,
        /// What is wrong.
        reason: String,
    },
    /// There is nobody to trust.
    #[error("build the verifier: {0}")]
    Verifier(String),
}

impl Trust {
    /// Reads the own file, if there is one.
    pub fn load(file: Option<PathBuf>) -> Result<Self, TrustError> {
        let mut state = State::default();
        if let Some(path) = &file {
            let octets = std::fs::read(path).map_err(|source| TrustError::Read {
                path: path.clone(),
                source,
            })?;
            state.local = of_file(path, &octets)?;
            state.octets = octets;
        }
        Ok(Self {
            file,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            state: Mutex::new(state),
        })
    }

    /// The crypto provider that goes with the verifiers.
    pub fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.provider)
    }

    /// The authorities for a target with those of `pem` beside the others.
    pub async fn authorities(&self, pem: &Arc<str>) -> Result<Arc<Authorities>, TrustError> {
        let fresh = match &self.file {
            Some(path) => Some((path, read(path).await)),
            None => None,
        };
        let mut state = self.state.lock();
        if let Some((path, fresh)) = fresh {
            state.renew(path, fresh);
        }
        if let Some(ready) = state.ready.get(pem) {
            return Ok(Arc::clone(ready));
        }
        let mut own = state.local.clone();
        // It was checked with the assignment.
        own.extend(certificates(pem.as_bytes()).map_err(|reason| {
            let whose = "the target's authorities".to_owned();
            TrustError::Certificates { whose, reason }
        })?);
        let authorities = Arc::new(self.build(own)?);
        if state.ready.len() >= MAX_READY {
            state.ready.clear();
        }
        state
            .ready
            .insert(Arc::clone(pem), Arc::clone(&authorities));
        Ok(authorities)
    }

    fn build(&self, own: Vec<CertificateDer<'static>>) -> Result<Authorities, TrustError> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        // One that is no authority can still be presented as it is.
        roots.add_parsable_certificates(own.iter().cloned());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider())
                .build()
                .map_err(|error| TrustError::Verifier(error.to_string()))?;
        Ok(Authorities { verifier, own })
    }
}

impl State {
    /// Takes a changed file. One that is no good leaves the authorities as they are, and is told once.
    fn renew(&mut self, path: &Path, fresh: io::Result<Vec<u8>>) {
        let octets = fresh.unwrap_or_default();
        if octets == self.octets {
            return;
        }
        match of_file(path, &octets) {
            Ok(local) => {
                self.local = local;
                self.ready.clear();
            }
            Err(error) => {
                warn!(%error, "The authorities' file is refused; the ones in force stay");
            }
        }
        self.octets = octets;
    }
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(MAX_FILE).read_to_end(&mut octets).await?;
    Ok(octets)
}

fn of_file(path: &Path, octets: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |reason| TrustError::Certificates {
        whose: path.display().to_string(),
        reason,
    };
    let found = certificates(octets).map_err(failed)?;
    if found.is_empty() {
        return Err(failed("has no certificate in PEM".to_owned()));
    }
    Ok(found)
}

/// The certificates of a PEM text, each of which can be parsed.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem)
        .enumerate()
        .map(|(i, der)| {
            let number = i + 1;
            let der = der.map_err(|error| format!("certificate {number}: {error}"))?;
            match super::certificate::CertificateFacts::parse(&der) {
                Some(_) => Ok(der),
                None => Err(format!("certificate {number} does not parse")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pem(name: &str) -> String {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    }

    #[test]
    fn a_text_without_good_certificates_is_refused_with_the_reason() {
        assert_eq!(certificates(b"").unwrap().len(), 0);
        let two = format!("{}{}", pem("a"), pem("b"));
        assert_eq!(certificates(two.as_bytes()).unwrap().len(), 2);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = certificates(format!("{}{broken}", pem("a")).as_bytes()).unwrap_err();
        assert_eq!(error, "certificate 2 does not parse");
        let cut = pem("a").replace("-----END", "");
        assert!(certificates(cut.as_bytes()).is_err());
    }

    #[tokio::test]
    async fn a_renewed_file_is_taken_and_a_broken_one_changes_nothing() {
        let path = std::env::temp_dir().join(format!("meshprobe-ca-{}.pem", std::process::id()));
        assert!(matches!(
            Trust::load(Some(path.clone())),
            Err(TrustError::Read { .. })
        ));
        std::fs::write(&path, "nothing").unwrap();
        let error = Trust::load(Some(path.clone())).unwrap_err().to_string();
        assert!(error.contains("no certificate in PEM"), "{error}");
        std::fs::write(&path, pem("a")).unwrap();
        let trust = Trust::load(Some(path.clone())).unwrap();
        let none: Arc<str> = "".into();
        let first = trust.authorities(&none).await.unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &trust.authorities(&none).await.unwrap()
        ));
        std::fs::write(&path, "broken").unwrap();
        let kept = trust.authorities(&none).await.unwrap();
        assert_eq!(kept.own, first.own);
        std::fs::write(&path, pem("b")).unwrap();
        assert_ne!(trust.authorities(&none).await.unwrap().own, first.own);
        std::fs::remove_file(&path).unwrap();
    }
}
