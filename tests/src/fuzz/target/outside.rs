//! What targets outside the mesh, and a proxy on the way to them, present.

use meshprobe_prober::external::certificate::CertificateFacts;
use meshprobe_prober::external::tunnel::{Head, MAX_HEAD, read_head};

use super::{Reader, Target};

pub(super) const PROXY: Target = Target {
    name: "proxy-answer",
    summary: "what a proxy answers to CONNECT",
    samples: proxy_samples,
    reader: proxy_reader,
};

pub(super) const CERTIFICATE: Target = Target {
    name: "certificate",
    summary: "the certificate of a server outside the mesh",
    samples: certificate_samples,
    reader: certificate_reader,
};

fn proxy_samples() -> Vec<Vec<u8>> {
    [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.1 200\r\nVia: 1.1 proxy\r\n\r\nrest",
        "HTTP/1.0 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno.",
        "HTTP/1.1 2",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn proxy_reader() -> Reader {
    Box::new(|octets| {
        let octets = &octets[..octets.len().min(MAX_HEAD)];
        match read_head(octets) {
            Head::Whole { length, .. } if length > octets.len() => {
                Err("a head is longer than what was received".to_owned())
            }
            Head::Whole { reason, .. } if reason.chars().any(char::is_control) => {
                Err("a reason phrase has control characters".to_owned())
            }
            Head::Whole { .. } => Ok(true),
            Head::Partial | Head::Malformed => Ok(false),
        }
    })
}

#[expect(clippy::unwrap_used, reason = "constants that are names")]
fn certificate_samples() -> Vec<Vec<u8>> {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = [
        vec!["shop.example.com".to_owned()],
        vec!["192.0.2.1".to_owned(), "2001:db8::1".to_owned()],
        (0..20).map(|i| format!("h{i}.example.com")).collect(),
        Vec::new(),
    ];
    names
        .into_iter()
        .map(|names| {
            let params = rcgen::CertificateParams::new(names).unwrap();
            params.self_signed(&key).unwrap().der().to_vec()
        })
        .collect()
}

fn certificate_reader() -> Reader {
    Box::new(|octets| {
        let Some(facts) = CertificateFacts::parse(octets) else {
            return Ok(false);
        };
        if facts.names.len() > 4 {
            return Err("more names are kept than are told".to_owned());
        }
        Ok(true)
    })
}
