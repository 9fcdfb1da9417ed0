//! As much of HTTP/1.1 as a webhook receiver and a look at an admin port need.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// More than any notification or metrics page.
const MAX_BODY: u64 = 64 << 20;
const MAX_LINE: u64 = 64 << 10;

/// A request or an answer.
#[derive(Debug)]
pub(super) struct Message {
    /// `POST / HTTP/1.1` or `HTTP/1.1 200 OK`
    pub(super) start: String,
    /// By their names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// Reads a message; a body without a length ends with the connection if `until_closed`.
pub(super) fn read(stream: impl Read, until_closed: bool) -> io::Result<Message> {
    let mut reader = BufReader::new(stream);
    let start = line(&mut reader)?;
    let mut headers = BTreeMap::new();
    loop {
        let line = line(&mut reader)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    let length = match headers.get("content-length") {
        Some(length) => length
            .parse()
            .map_err(|_| malformed("content-length is no number"))?,
        None if headers.contains_key("transfer-encoding") => {
            return chunked(reader, start, headers);
        }
        None if until_closed => MAX_BODY,
        None => 0,
    };
    let mut body = Vec::new();
    reader
        .by_ref()
        .take(length.min(MAX_BODY))
        .read_to_end(&mut body)?;
    if headers.contains_key("content-length") && (body.len() as u64) < length {
        return Err(malformed("the connection ended inside the body"));
    }
    Ok(Message {
        start,
        headers,
        body,
    })
}

fn chunked(
    mut reader: BufReader<impl Read>,
    start: String,
    headers: BTreeMap<String, String>,
) -> io::Result<Message> {
    let mut body = Vec::new();
    loop {
        let size = line(&mut reader)?;
        let size = size.split(';').next().unwrap_or_default();
        let size =
            u64::from_str_radix(size.trim(), 16).map_err(|_| malformed("a chunk has no size"))?;
        if size + body.len() as u64 > MAX_BODY {
            return Err(malformed("the body is too large"));
        }
        reader.by_ref().take(size).read_to_end(&mut body)?;
        // The line end after each chunk; after the last one, the end of the message.
        line(&mut reader)?;
        if size == 0 {
            return Ok(Message {
                start,
                headers,
                body,
            });
        }
    }
}

fn line(reader: &mut BufReader<impl Read>) -> io::Result<String> {
    let mut line = String::new();
    if reader.by_ref().take(MAX_LINE).read_line(&mut line)? == 0 {
        return Err(malformed("the connection ended inside the message"));
    }
    Ok(line.trim_end().to_owned())
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Answers with a status and nothing else, and says that the connection ends.
pub(super) fn answer(stream: &mut TcpStream, status: u16) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())
}

/// GET over a fresh connection; anything but 2xx is an error that shows the answer's beginning.
pub(super) fn get(mut stream: TcpStream, path: &str) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let message = read(stream, true)?;
    let body = String::from_utf8_lossy(&message.body).into_owned();
    let status = message.start.split(' ').nth(1).unwrap_or_default();
    if status.starts_with('2') {
        return Ok(body);
    }
    let beginning: String = body.chars().take(200).collect();
    Err(io::Error::other(format!("{}: {beginning}", message.start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_as_long_as_the_message_says() {
        let request =
            "POST /hook HTTP/1.1\r\nContent-Length: 4\r\nWebhook-Id: x: y\r\n\r\n{..}trailing";
        let message = read(request.as_bytes(), false).expect("a request");
        assert_eq!(message.start, "POST /hook HTTP/1.1");
        assert_eq!(message.headers["webhook-id"], "x: y");
        assert_eq!(message.body, b"{..}");
    }

    #[test]
    fn a_chunked_body_is_put_together() {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(
            read(answer.as_bytes(), true).expect("an answer").body,
            b"abc0123456789"
        );
    }

    #[test]
    fn a_message_that_is_cut_off_is_an_error() {
        for cut in [
            "",
            "POST / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nshort",
        ] {
            assert!(read(cut.as_bytes(), false).is_err(), "{cut:?}");
        }
    }
}
