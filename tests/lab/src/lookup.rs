//! One DNS question, asked from inside a namespace: to know when a server is up, and for tests.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::namespace::{self, NamespaceError};

/// Any number does: the socket is connected, so only the server's answer arrives, and only one question is in flight.
const QUERY_ID: u16 = 0x4d50;
const HEADER_LENGTH: usize = 12;

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What a DNS server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// 0 no error, 2 server failure, 3 no such name.
    pub rcode: u8,
    /// The server speaks for this zone itself.
    pub is_authoritative: bool,
    /// The addresses in the answer.
    pub addresses: Vec<Ipv4Addr>,
}

pub(crate) fn lookup_in(
    namespace: &str,
    server: SocketAddr,
    name: &str,
    transport: Transport,
    timeout: Duration,
) -> Result<Lookup, NamespaceError> {
    namespace::run_in(namespace, || ask(server, name, transport, timeout))?.map_err(|source| {
        NamespaceError::Socket {
            namespace: namespace.to_owned(),
            what: format!("ask {server} for {name}"),
            source,
        }
    })
}

fn ask(
    server: SocketAddr,
    name: &str,
    transport: Transport,
    timeout: Duration,
) -> io::Result<Lookup> {
    let query = encode(name);
    let answer = match transport {
        Transport::Udp => {
            let unspecified = match server {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let socket = UdpSocket::bind((unspecified, 0))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(timeout))?;
            socket.send(&query)?;
            let mut buffer = vec![0; 1500];
            let length = socket.recv(&mut buffer)?;
            buffer.truncate(length);
            buffer
        }
        Transport::Tcp => {
            let mut stream = TcpStream::connect_timeout(&server, timeout)?;
            stream.set_read_timeout(Some(timeout))?;
            let mut framed = (query.len() as u16).to_be_bytes().to_vec();
            framed.extend_from_slice(&query);
            stream.write_all(&framed)?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut buffer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut buffer)?;
            buffer
        }
    };
    decode(&answer, query.len())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an answer to the question"))
}

/// A recursive question for an A record.
fn encode(name: &str) -> Vec<u8> {
    let mut query = Vec::with_capacity(HEADER_LENGTH + name.len() + 6);
    for field in [QUERY_ID, 0x0100, 1, 0, 0, 0] {
        query.extend_from_slice(&field.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// Reads the answer; the question in it is as long as the one that was asked.
fn decode(answer: &[u8], question_end: usize) -> Option<Lookup> {
    let id = u16::from_be_bytes([*answer.first()?, *answer.get(1)?]);
    let flags = u16::from_be_bytes([*answer.get(2)?, *answer.get(3)?]);
    let records = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    if id != QUERY_ID || flags & 0x8000 == 0 {
        return None;
    }
    let mut addresses = Vec::new();
    let mut rest = answer.get(question_end..)?;
    for _ in 0..records {
        rest = skip_name(rest)?;
        let kind = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        let length = usize::from(u16::from_be_bytes([*rest.get(8)?, *rest.get(9)?]));
        let data = rest.get(10..10 + length)?;
        if let (1, Ok(octets)) = (kind, <[u8; 4]>::try_from(data)) {
            addresses.push(Ipv4Addr::from(octets));
        }
        rest = rest.get(10 + length..)?;
    }
    Some(Lookup {
        rcode: (flags & 0x000f) as u8,
        is_authoritative: flags & 0x0400 != 0,
        addresses,
    })
}

fn skip_name(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        match *rest.first()? {
            0 => return rest.get(1..),
            pointer if pointer >= 0xc0 => return rest.get(2..),
            length => rest = rest.get(1 + usize::from(length)..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_yields_its_code_and_addresses_and_a_cut_one_yields_nothing() {
        let query = encode("www.example.com");
        let mut answer = query.clone();
        answer[2] = 0x85;
        answer[3] = 0x80;
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 203, 0, 113, 10]);
        let lookup = decode(&answer, query.len()).expect("an answer");
        assert_eq!(
            lookup,
            Lookup {
                rcode: 0,
                is_authoritative: true,
                addresses: vec![Ipv4Addr::new(203, 0, 113, 10)],
            }
        );
        for length in 0..answer.len() {
            assert_eq!(
                decode(&answer[..length], query.len()),
                None,
                "cut at {length}"
            );
        }
    }
}
