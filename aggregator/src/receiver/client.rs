//! One request to one receiver, and what its end means.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, RETRY_AFTER},
};
use jiff::Timestamp;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use url::Url;

use super::template::TemplateError;
use crate::config::{ReceiverConfig, Secret, SecretError};

/// A connection that takes longer is tried again later.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are kept this long, so that the next alert saves the handshakes.
const KEEP_WARM: Duration = Duration::from_secs(300);
/// As much of a refusal's body as is worth keeping.
const MAX_BODY: usize = 2048;
/// The longest wait that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// 2xx: the receiver has it.
    Delivered {
        /// What it said, for people.
        answer: String,
    },
    /// It may work later: no answer, 408, 429, 5xx.
    Later {
        /// What happened, for people.
        reason: String,
        /// The receiver asked not to be called before this time has passed.
        after: Option<Duration>,
    },
    /// The receiver does not want it: 3xx, 4xx. It may be misconfigured, so a few more tries are made.
    Refused {
        /// What it said, for people.
        reason: String,
    },
}

impl Attempt {
    /// Does the receiver have it?
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }

    /// What happened, for people.
    pub fn answer(self) -> String {
        match self {
            Self::Delivered { answer } => answer,
            Self::Later { reason, .. } | Self::Refused { reason } => reason,
        }
    }
}

/// Why a receiver cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// Its secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Its authorities cannot be read.
    #[error("read the certificate authorities in {}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// What it needs is not given.
    #[error("{0}")]
    Incomplete(&'static str),
    /// A file's content is no address.
    #[error("{}: its content is no http or https address", path.display())]
    Address {
        /// The file.
        path: PathBuf,
    },
    /// A file's content is no header value.
    #[error("{}: its content is no header value", path.display())]
    Header {
        /// The file.
        path: PathBuf,
    },
    /// A header has a name or value that HTTP does not know.
    #[error("the header {name} is none")]
    BadHeader {
        /// Its name.
        name: String,
    },
    /// Its template cannot be rendered.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// TLS cannot be set up.
    #[error("set up TLS for notifications")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be set up.
    #[error("set up the HTTP client for notifications")]
    Client(#[from] reqwest::Error),
}

/// A request as a kind of receiver wants it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Sends requests to one receiver. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    client: reqwest::Client,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Reads the receiver's files and prepares its client; no connection is made.
    pub(super) fn new(config: &ReceiverConfig) -> Result<Self, ReceiverError> {
        let authorization = match &config.bearer_token_file {
            Some(path) => {
                let token = Secret::read_text(path)?;
                Some(secret_header(&format!("Bearer {token}"), path)?)
            }
            None => None,
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls_config(config.ca_file.as_deref())?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(config.timeout.duration())
            .pool_idle_timeout(KEEP_WARM)
            .pool_max_idle_per_host(4)
            .tcp_nodelay(true)
            .user_agent(concat!("meshprobe/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        if let Some(proxy) = &config.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy.clone())?);
        }
        Ok(Self {
            client: builder.build()?,
            authorization,
        })
    }

    /// Sends it once.
    pub(super) async fn send(&self, request: Request, now: Timestamp) -> Attempt {
        let Request {
            method,
            url,
            mut headers,
            body,
        } = request;
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let sent = self
            .client
            .request(method, url)
            .headers(headers)
            .body(body)
            .send()
            .await;
        match sent {
            Ok(response) => judge(response, now).await,
            // Without the URL: it may carry a token, and this text goes into logs and the store.
            Err(error) => Attempt::Later {
                reason: chain(&error.without_url()),
                after: None,
            },
        }
    }
}

/// A header's value out of a file; it is shown nowhere.
pub(super) fn secret_header(text: &str, path: &Path) -> Result<HeaderValue, ReceiverError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ReceiverError::Header {
        path: path.to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn judge(response: reqwest::Response, now: Timestamp) -> Attempt {
    let status = response.status();
    let after = retry_after(response.headers(), now);
    let said = beginning(response).await;
    let reason = if said.is_empty() {
        status.to_string()
    } else {
        format!("{status}: {said}")
    };
    if status.is_success() {
        return Attempt::Delivered { answer: reason };
    }
    let may_work_later = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
    if may_work_later {
        Attempt::Later { reason, after }
    } else {
        Attempt::Refused { reason }
    }
}

/// The first bytes of the answer, as one line.
async fn beginning(mut response: reqwest::Response) -> String {
    let mut text = Vec::new();
    while text.len() < MAX_BODY {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                text.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - text.len())]);
            }
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&text);
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(300)
        .collect()
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The public authorities, and the configured ones. ALPN has to be said here: a preconfigured client gets none.
fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, ReceiverError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = ca_file {
        let wrong = |source| ReceiverError::Authorities {
            path: path.to_owned(),
            source,
        };
        let pem = fs::read(path).map_err(wrong)?;
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate =
                certificate.map_err(|error| wrong(io::Error::other(error.to_string())))?;
            roots.add(certificate)?;
            found += 1;
        }
        if found == 0 {
            return Err(wrong(io::Error::new(
                io::ErrorKind::InvalidData,
                "no certificate in it",
            )));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, "2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_receiver_may_ask_for_time_in_seconds_or_with_a_date() {
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            asked("Thu, 01 Jan 2026 00:00:30 GMT"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(asked("Wed, 01 Jan 2025 00:00:30 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("99999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(asked("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::UNIX_EPOCH), None);
    }
}
