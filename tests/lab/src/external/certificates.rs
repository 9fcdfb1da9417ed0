//! An authority that lives as long as the lab, and what it signed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::lab::LabError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// As public authorities sign nowadays; a warning before the end has room.
const VALID_FOR: Duration = DAY.saturating_mul(90);
/// Long enough for any difference between clocks.
const EXPIRED_SINCE: Duration = DAY.saturating_mul(3);

/// Whom a certificate is for.
#[derive(Debug)]
pub(super) struct Subject {
    /// Also the beginning of the files' names.
    pub(super) name: &'static str,
    /// Other names and addresses.
    pub(super) others: Vec<String>,
}

/// A server's certificates and its key, in PEM.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) key: PathBuf,
    pub(super) valid: PathBuf,
    pub(super) expired: PathBuf,
}

/// The times that a certificate counts between.
#[derive(Debug, Clone, Copy)]
struct Validity {
    from: SystemTime,
    until: SystemTime,
}

/// Makes the authority and everything that it signs. The authority's key is forgotten at once.
pub(super) fn issue(
    subjects: &[Subject],
    directory: &Path,
    authority_file: &Path,
) -> Result<Vec<Files>, LabError> {
    fs::create_dir_all(directory).map_err(cannot_write(directory))?;
    let now = today();
    let (valid, expired) = (
        Validity {
            from: now - DAY,
            until: now + VALID_FOR,
        },
        Validity {
            from: now - VALID_FOR,
            until: now - EXPIRED_SINCE,
        },
    );
    let authority_key = KeyPair::generate()?;
    let authority = authority(Validity {
        from: expired.from - DAY,
        until: valid.until + DAY,
    })?;
    write(
        authority_file,
        &authority.self_signed(&authority_key)?.pem(),
    )?;
    let issuer = Issuer::new(authority, authority_key);
    subjects
        .iter()
        .map(|subject| {
            let key = KeyPair::generate()?;
            let path = |what: &str| directory.join(format!("{}.{what}.pem", subject.name));
            let files = Files {
                key: path("key"),
                valid: path("valid"),
                expired: path("expired"),
            };
            write(&files.key, &key.serialize_pem())?;
            for (file, validity) in [(&files.valid, valid), (&files.expired, expired)] {
                let certificate = server(subject, validity)?.signed_by(&key, &issuer)?;
                write(file, &certificate.pem())?;
            }
            Ok(files)
        })
        .collect()
}

/// To the day: a certificate's own times are to the second, and nobody should look for meaning in them.
#[expect(
    clippy::disallowed_methods,
    reason = "the certificates are for programs that compare them with the clock of this machine"
)]
fn today() -> SystemTime {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let days = since_epoch.as_secs() / DAY.as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(days * DAY.as_secs())
}

fn authority(validity: Validity) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "meshprobe lab authority");
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    Ok(params)
}

fn server(subject: &Subject, validity: Validity) -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec![subject.name.to_owned()];
    names.extend_from_slice(&subject.others);
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, subject.name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    Ok(params)
}

fn write(path: &Path, pem: &str) -> Result<(), LabError> {
    fs::write(path, pem).map_err(cannot_write(path))
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> LabError {
    move |source| LabError::Write {
        path: path.to_owned(),
        source,
    }
}
