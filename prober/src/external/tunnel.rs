//! A tunnel through a proxy: HTTP CONNECT, with a bounded head.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::proxy::Proxy;

/// Longest head of the proxy's answer.
pub const MAX_HEAD: usize = 8 << 10;

/// Longest reason phrase that is told.
const MAX_REASON: usize = 64;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The connection to the proxy broke.
    #[error("talk to the proxy: {0}")]
    Io(#[from] io::Error),
    /// The proxy ended the connection before it answered.
    #[error("the proxy closed before it answered CONNECT")]
    Closed,
    /// It said no.
    #[error("the proxy answered CONNECT with {status}{}", spaced(reason))]
    Refused {
        /// Its status.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// It does not speak HTTP.
    #[error("the proxy's answer to CONNECT is no HTTP response")]
    Malformed,
    /// Its head does not end.
    #[error("the proxy's answer to CONNECT has more than {MAX_HEAD} octets")]
    TooLong,
    /// Octets after the head that nobody asked for.
    #[error("the proxy sent data before the tunnel was used")]
    Early,
}

fn spaced(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" {reason}")
    }
}

/// What is known of the proxy's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// It goes on.
    Partial,
    /// All of it.
    Whole {
        /// Its status.
        status: u16,
        /// Its words, without control characters.
        reason: String,
        /// Its octets, with the empty line.
        length: usize,
    },
    /// It is none.
    Malformed,
}

/// Asks the proxy at the other end of `stream` for a tunnel to `authority` (`host:port`). `server_speaks_first`: data
/// may follow at once.
pub async fn open(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &Proxy,
    authority: &str,
    server_speaks_first: bool,
) -> Result<(), TunnelError> {
    let authorization = proxy
        .authorization
        .as_deref()
        .map_or_else(String::new, |a| format!("Proxy-Authorization: {a}\r\n"));
    let request = format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {}\r\n{authorization}\r\n",
        super::USER_AGENT
    );
    stream.write_all(request.as_bytes()).await?;
    let mut octets = Vec::with_capacity(512);
    loop {
        match read_head(&octets) {
            Head::Partial if octets.len() >= MAX_HEAD => return Err(TunnelError::TooLong),
            Head::Partial => {}
            Head::Malformed => return Err(TunnelError::Malformed),
            Head::Whole {
                status: 200..=299,
                length,
                ..
            } => {
                return if server_speaks_first || length == octets.len() {
                    Ok(())
                } else {
                    Err(TunnelError::Early)
                };
            }
            Head::Whole { status, reason, .. } => {
                return Err(TunnelError::Refused { status, reason });
            }
        }
        let room = (MAX_HEAD - octets.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut octets).await? == 0 {
            return Err(TunnelError::Closed);
        }
    }
}

/// Reads the beginning of an answer. Pure.
pub fn read_head(octets: &[u8]) -> Head {
    const START: &[u8] = b"HTTP/1.";
    let compared = octets.len().min(START.len());
    if octets[..compared] != START[..compared] {
        return Head::Malformed;
    }
    let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Head::Partial;
    };
    // HTTP/1.x SP three digits [SP reason]
    let line = octets[..end].split(|octet| *octet == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let mut words = line.splitn(3, ' ');
    let status = words.nth(1).filter(|word| word.len() == 3);
    let Some(status) = status
        .and_then(|word| word.parse::<u16>().ok())
        .filter(|status| (100..600).contains(status))
    else {
        return Head::Malformed;
    };
    let reason = words.next().unwrap_or_default().chars();
    Head::Whole {
        status,
        reason: reason
            .filter(|c| !c.is_control())
            .take(MAX_REASON)
            .collect(),
        length: end + 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy() -> Proxy {
        Proxy {
            host: "proxy".into(),
            port: 3128,
            authorization: Some("Basic abc".into()),
        }
    }

    /// The result of an answer, and what the proxy was asked.
    async fn opened(answer: &[u8], speaks_first: bool) -> (Result<(), TunnelError>, String) {
        let (mut near, mut far) = tokio::io::duplex(64 << 10);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        let result = open(&mut near, &proxy(), "shop.example.com:443", speaks_first).await;
        drop(near);
        let mut asked = String::new();
        far.read_to_string(&mut asked).await.unwrap();
        (result, asked)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_authority_and_with_the_password() {
        let (result, asked) = opened(b"HTTP/1.1 200 Connection established\r\n\r\n", false).await;
        result.unwrap();
        assert!(asked.starts_with("CONNECT shop.example.com:443 HTTP/1.1\r\nHost: shop"));
        assert!(asked.contains("\r\nProxy-Authorization: Basic abc\r\n"));
        assert!(asked.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn each_way_to_fail_has_its_reason() {
        let long = [b"HTTP/1.1 200 OK\r\n".as_slice(), &[b'x'; MAX_HEAD]].concat();
        let cases: [(&[u8], &str); 6] = [
            (
                b"HTTP/1.1 502 Bad Gateway\r\nX: y\r\n\r\n",
                "CONNECT with 502 Bad Gateway",
            ),
            (b"HTTP/1.1 407\r\n\r\n", "CONNECT with 407"),
            (b"SSH-2.0-OpenSSH\r\n", "no HTTP response"),
            (b"HTTP/1.1 2", "closed before it answered"),
            (&long, "more than 8192 octets"),
            (
                b"HTTP/1.1 200 OK\r\n\r\nhello",
                "before the tunnel was used",
            ),
        ];
        for (answer, expected) in cases {
            let error = opened(answer, false).await.0.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let greeting = opened(b"HTTP/1.1 200 OK\r\n\r\n220 mail", true).await.0;
        greeting.unwrap();
    }

    proptest! {
        #[test]
        fn any_answer_ends_in_a_tunnel_or_a_reason(
            start in prop::sample::select(vec!["", "HTTP/1.1 ", "HTTP/1.1 200 OK\r\n"]),
            rest in prop::collection::vec(any::<u8>(), 0..2_000),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let answer = [start.as_bytes(), &rest].concat();
            if let Err(error) = runtime.block_on(opened(&answer, false)).0 {
                prop_assert!(error.to_string().len() < 512);
            }
        }
    }
}
