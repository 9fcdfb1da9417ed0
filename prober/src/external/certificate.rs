//! What a certificate says about itself. Pure.

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Names of a certificate that are told.
const MAX_NAMES: usize = 4;

/// What a certificate says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Beginning of its validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of it.
    pub not_after: i64,
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The hosts that it is for: the first few, and how many there are beside them.
    pub names: Vec<String>,
    /// Further names.
    pub further_names: usize,
}

impl CertificateFacts {
    /// Reads a certificate in DER; `None`: it is none.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let all = alternatives.map_or(&[][..], |found| &found.value.general_names);
        let mut names: Vec<String> = all.iter().filter_map(host).collect();
        let further_names = names.len().saturating_sub(MAX_NAMES);
        names.truncate(MAX_NAMES);
        Some(Self {
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            further_names,
        })
    }

    /// The hosts that it is for, for people.
    pub fn hosts(&self) -> String {
        let names = if self.names.is_empty() {
            return "no host at all".to_owned();
        } else {
            self.names.join(", ")
        };
        match self.further_names {
            0 => names,
            further => format!("{names} and {further} more"),
        }
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*octets).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// A span of time for people: "3 days", "1 hour".
pub fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(names: usize) -> Vec<u8> {
        let names: Vec<String> = (0..names).map(|i| format!("h{i}.example.com")).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hosts_of_a_certificate_are_told_briefly() {
        let facts = CertificateFacts::parse(&certificate(6)).unwrap();
        assert_eq!(
            facts.hosts(),
            "h0.example.com, h1.example.com, h2.example.com, h3.example.com and 2 more"
        );
        let none = CertificateFacts::parse(&certificate(0)).unwrap();
        assert_eq!(none.hosts(), "no host at all");
        assert!(facts.not_before < facts.not_after);
    }

    #[test]
    fn spans_are_told_in_one_unit() {
        let spans = [1, 59, 60, 7_199, 86_400, 900_000].map(span);
        assert_eq!(
            spans,
            [
                "1 second",
                "59 seconds",
                "1 minute",
                "1 hour",
                "1 day",
                "10 days"
            ]
        );
    }

    proptest! {
        #[test]
        fn a_mutated_certificate_is_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut der = GOOD.get_or_init(|| certificate(3)).clone();
            for (place, value) in changes {
                let place = place.index(der.len());
                der[place] = value;
            }
            der.truncate(cut.index(der.len()) + 1);
            if let Some(facts) = CertificateFacts::parse(&der) {
                prop_assert!(facts.names.len() <= MAX_NAMES);
            }
        }
    }
}
