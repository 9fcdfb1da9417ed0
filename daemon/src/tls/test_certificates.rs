//! Certificates made for a test, as the files that a person would have.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{ClientAuth, ClientTlsFiles, ServerTlsFiles};

/// A directory of its own for each test, removed at the end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "daemon-tls-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.file(name), content).unwrap();
        self.file(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key for `name`.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.0)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server certificate for `localhost`, as files.
pub(crate) fn server_files(directory: &Directory, authority: &Authority) -> ServerTlsFiles {
    let (cert, key) = authority.issue("localhost");
    ServerTlsFiles {
        cert: directory.write("tls.crt", &cert),
        key: directory.write("tls.key", &key),
        client_ca: None,
        client_auth: ClientAuth::Required,
    }
}

/// Trust in `authority`, as files.
pub(crate) fn client_files(directory: &Directory, authority: &Authority) -> ClientTlsFiles {
    ClientTlsFiles {
        ca: directory.write("ca.crt", &authority.pem()),
        cert: None,
        key: None,
    }
}
