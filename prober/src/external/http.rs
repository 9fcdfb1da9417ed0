//! One HTTP/1.1 request and as much of the response as is needed. Everything is bounded: head, headers, body.

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use meshprobe_core::outcome::Outcome;
use meshprobe_core::time::Moment;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use crate::clock::Clock;

/// Longest head of a response.
const MAX_HEAD: usize = 64 << 10;

/// Most headers of a response.
const MAX_HEADERS: usize = 128;

/// How much of a body is looked at.
pub const MAX_BODY: usize = 64 << 10;

/// What was seen of a response.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Where it redirects to.
    pub location: Option<String>,
    /// When its head was there.
    pub head_at: Moment,
    /// Does the body have what was looked for? `None`: nothing was.
    pub body_matched: Option<bool>,
}

/// A request that was not answered as HTTP has it.
#[derive(Debug)]
pub struct NoResponse {
    /// What that says about the path.
    pub outcome: Outcome,
    /// For people.
    pub reason: String,
}

/// A GET of `url`; `absolute`: as a proxy takes it.
pub fn request(
    url: &Url,
    absolute: bool,
    authorization: Option<&str>,
) -> Result<Request<Empty<Bytes>>, http::Error> {
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let query = url.query().map_or_else(String::new, |q| format!("?{q}"));
    let path = format!("{}{query}", url.path());
    let target = if absolute {
        format!("{}://{host}{path}", url.scheme())
    } else {
        path
    };
    let mut request = Request::get(target)
        .header("host", host)
        .header("user-agent", super::USER_AGENT)
        .header("accept", "*/*")
        .header("connection", "close");
    if let Some(authorization) = authorization {
        request = request.header("proxy-authorization", authorization);
    }
    request.body(Empty::new())
}

/// Sends the request and reads the response. The body is read if `wants_body` says so of the status, until it has
/// `expected` or has shown [`MAX_BODY`] octets.
pub async fn exchange(
    io: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: Request<Empty<Bytes>>,
    clock: Clock,
    expected: &str,
    wants_body: impl Fn(u16) -> bool,
) -> Result<Response, NoResponse> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| no_response(&error))?;
    let work = async {
        let response = sender.send_request(request).await?;
        let head_at = clock.now();
        let status = response.status();
        let location = response.headers().get(LOCATION).map(text);
        let body_matched = if wants_body(status.as_u16()) {
            Some(has(response.into_body(), expected.as_bytes()).await?)
        } else {
            None
        };
        Ok(Response {
            status,
            location,
            head_at,
            body_matched,
        })
    };
    tokio::pin!(work, connection);
    // Whatever ends the connection ends the request as well, with the better reason.
    let done = tokio::select! {
        biased;
        done = &mut work => done,
        _ = &mut connection => work.await,
    };
    done.map_err(|error| no_response(&error))
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Does the beginning of the body have this text?
async fn has(mut body: Incoming, expected: &[u8]) -> Result<bool, hyper::Error> {
    let mut seen = Vec::new();
    while seen.len() < MAX_BODY {
        let Some(frame) = body.frame().await else {
            return Ok(false);
        };
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if search(&mut seen, &data, expected) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds to what was seen, up to the bound, and looks only where the text can be new.
fn search(seen: &mut Vec<u8>, data: &[u8], expected: &[u8]) -> bool {
    let from = seen.len().saturating_sub(expected.len().saturating_sub(1));
    let room = MAX_BODY - seen.len();
    seen.extend_from_slice(&data[..data.len().min(room)]);
    expected.is_empty()
        || seen[from..]
            .windows(expected.len())
            .any(|window| window == expected)
}

fn no_response(error: &hyper::Error) -> NoResponse {
    let (outcome, reason) = if error.is_parse() || error.is_parse_too_large() {
        let reason = format!("the response is not HTTP, or has no end: {error}");
        (Outcome::WrongAnswer, reason)
    } else if error.is_timeout() {
        (Outcome::Timeout, "no response in time".to_owned())
    } else {
        let reason = "server closed before the response was complete";
        (Outcome::Reset, reason.to_owned())
    };
    NoResponse { outcome, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn answered(octets: &[u8], expected: &str) -> Result<Response, NoResponse> {
        let (near, mut far) = tokio::io::duplex(256 << 10);
        let url = Url::parse("http://shop.example.com/health?deep=1").unwrap();
        let request = request(&url, false, None).unwrap();
        let reading = async {
            let mut asked = Vec::new();
            far.read_buf(&mut asked).await.unwrap();
            far.write_all(octets).await.unwrap();
            far.shutdown().await.unwrap();
            far
        };
        let exchange = exchange(near, request, Clock::new(), expected, |s| {
            s == 200 && !expected.is_empty()
        });
        let (response, _far) = tokio::join!(exchange, reading);
        response
    }

    #[tokio::test]
    async fn status_redirect_and_body_are_seen() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well";
        let response = answered(ok, "is well").await.unwrap();
        assert_eq!(response.body_matched, Some(true));
        let response = answered(ok, "ill").await.unwrap();
        assert_eq!(response.body_matched, Some(false));
        let moved = b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
        let response = answered(moved, "x").await.unwrap();
        assert_eq!(response.location.as_deref(), Some("/login"));
        assert_eq!(response.body_matched, None);
    }

    #[tokio::test]
    async fn what_is_no_response_is_told_apart_from_silence() {
        let noise = answered(b"SSH-2.0-OpenSSH_9\r\n\r\n", "").await;
        assert_eq!(noise.unwrap_err().outcome, Outcome::WrongAnswer);
        let nothing = answered(b"", "").await.unwrap_err();
        assert_eq!(nothing.outcome, Outcome::Reset);
        let half = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "z").await;
        assert_eq!(half.unwrap_err().outcome, Outcome::Reset);
        let mut endless = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        endless.resize(MAX_HEAD + 100, b'x');
        let endless = answered(&endless, "").await.unwrap_err();
        assert_eq!(endless.outcome, Outcome::WrongAnswer);
    }

    #[tokio::test]
    async fn only_the_beginning_of_a_body_counts() {
        let mut long = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        long.resize(long.len() + MAX_BODY, b'.');
        long.extend_from_slice(b"here");
        assert_eq!(
            answered(&long, "here").await.unwrap().body_matched,
            Some(false)
        );
    }

    #[test]
    fn a_proxy_is_asked_by_the_whole_url() {
        let url = Url::parse("http://shop.example.com:8080/a?b=c#d").unwrap();
        let asked = request(&url, true, Some("Basic x")).unwrap();
        assert_eq!(asked.uri(), "http://shop.example.com:8080/a?b=c");
        assert_eq!(asked.headers()["host"], "shop.example.com:8080");
        assert_eq!(asked.headers()["proxy-authorization"], "Basic x");
        assert_eq!(request(&url, false, None).unwrap().uri(), "/a?b=c");
    }

    proptest! {
        #[test]
        fn a_text_is_found_however_the_body_is_cut(
            body in prop::collection::vec(0_u8..3, 0..200),
            expected in prop::collection::vec(0_u8..3, 1..6),
            cuts in prop::collection::vec(1_usize..20, 1..20),
        ) {
            let whole = body.windows(expected.len()).any(|w| w == expected);
            let (mut seen, mut rest, mut found) = (Vec::new(), &body[..], false);
            for cut in cuts.iter().cycle().take(body.len() + 1) {
                let (data, later) = rest.split_at((*cut).min(rest.len()));
                found |= search(&mut seen, data, &expected);
                rest = later;
            }
            prop_assert_eq!(found, whole);
        }

        #[test]
        fn any_response_is_taken_or_refused(
            start in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
            rest in prop::collection::vec(any::<u8>(), 0..2_000),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let octets = [start.as_bytes(), &rest].concat();
            if let Err(refused) = runtime.block_on(answered(&octets, "text")) {
                prop_assert!(!refused.reason.is_empty());
            }
        }
    }
}
