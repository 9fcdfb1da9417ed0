//! Lookups at real servers on loopback sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::resolv_conf::ResolvConf;
use super::stub::{Cost, Found, LookupError, lookup};

const BOTH: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// What a server does with a question over UDP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Knows `www.example.com`, and nothing else.
    Knows,
    /// The same, but says over UDP that it does not fit.
    Truncates,
    /// Fails.
    Fails,
    /// Fails for AAAA.
    FailsForV6,
    /// Says nothing.
    Silent,
}

/// A server on a loopback address, over UDP and TCP; ends with the test.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

async fn serve(manner: Manner) -> Server {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    let heard = Arc::clone(&asked);
    tasks.spawn(async move {
        let mut octets = [0; 512];
        loop {
            let (length, from) = udp.recv_from(&mut octets).await.unwrap();
            let query = Message::from_vec(&octets[..length]).unwrap();
            let question = query.queries[0].clone();
            heard
                .lock()
                .push(format!("{} {}", question.name(), question.query_type()));
            if manner != Manner::Silent {
                // First a guess: it counts as none.
                let mut guess = answer(&query, manner);
                guess.metadata.id = guess.metadata.id.wrapping_add(1);
                udp.send_to(&guess.to_vec().unwrap(), from).await.unwrap();
                let octets = answer(&query, manner).to_vec().unwrap();
                udp.send_to(&octets, from).await.unwrap();
            }
        }
    });
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut octets = vec![0; usize::from(length)];
            stream.read_exact(&mut octets).await.unwrap();
            let query = Message::from_vec(&octets).unwrap();
            let octets = answer(&query, Manner::Knows).to_vec().unwrap();
            stream.write_u16(octets.len() as u16).await.unwrap();
            stream.write_all(&octets).await.unwrap();
        }
    });
    Server {
        address,
        asked,
        _tasks: tasks,
    }
}

fn answer(query: &Message, manner: Manner) -> Message {
    let question = query.queries[0].clone();
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.add_query(question.clone());
    let known = Name::from_ascii("www.example.com.").unwrap();
    let is_v6 = question.query_type() == RecordType::AAAA;
    message.metadata.response_code = match manner {
        Manner::Fails => ResponseCode::ServFail,
        Manner::FailsForV6 if is_v6 => ResponseCode::ServFail,
        _ if *question.name() != known => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    };
    message.metadata.truncation = manner == Manner::Truncates;
    let is_known = message.metadata.response_code == ResponseCode::NoError;
    if is_known && !is_v6 && manner != Manner::Truncates {
        let data = RData::from("192.0.2.7".parse::<IpAddr>().unwrap());
        message.answers.push(Record::from_rdata(known, 5, data));
    }
    message
}

fn conf(servers: &[SocketAddr]) -> ResolvConf {
    let text = "nameserver 10.0.0.1\nsearch a.test b.test\noptions ndots:5 timeout:1 attempts:2\n";
    ResolvConf {
        servers: servers.to_vec(),
        timeout: Duration::from_millis(300),
        ..ResolvConf::parse(text.as_bytes()).unwrap()
    }
}

async fn look_up(conf: &ResolvConf, name: &str) -> (Result<Found, LookupError>, Cost) {
    let mut cost = Cost::default();
    let found = lookup(conf, name, &BOTH, &mut cost).await;
    (found, cost)
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn a_name_costs_two_questions_for_each_candidate() {
    let server = serve(Manner::Knows).await;
    let (found, cost) = look_up(&conf(&[server.address]), "www.example.com").await;
    let found = found.unwrap();
    assert_eq!(found.name.to_string(), "www.example.com.");
    assert_eq!(found.addresses, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(cost.queries, 6);
    assert_eq!(cost.server, Some(server.address));
    assert!(cost.strays.0 > 0, "wrong answers are counted");
    let asked = server.asked.lock().clone();
    assert_eq!(
        asked[0], "www.example.com.a.test. A",
        "in the order of the list"
    );
    assert_eq!(asked[5], "www.example.com. AAAA");
    let (_, cost) = look_up(&conf(&[server.address]), "www.example.com.").await;
    assert_eq!(cost.queries, 2, "a final dot spares the search");
}

#[tokio::test]
async fn a_dead_a_failing_and_a_silent_server_lead_to_the_next_one() {
    let good = serve(Manner::Knows).await;
    let failing = serve(Manner::Fails).await;
    let silent = serve(Manner::Silent).await;
    for first in [nobody(), failing.address, silent.address] {
        let conf = conf(&[first, good.address]);
        let (found, cost) = look_up(&conf, "www.example.com.").await;
        found.unwrap();
        assert_eq!(cost.server, Some(good.address));
        assert!(cost.queries >= 3);
    }
}

#[tokio::test]
async fn each_way_to_get_no_address_is_told() {
    let good = serve(Manner::Knows).await;
    let failing = serve(Manner::Fails).await;
    let silent = serve(Manner::Silent).await;
    let (none, cost) = look_up(&conf(&[good.address]), "absent").await;
    assert!(matches!(none, Err(LookupError::NoSuchName)));
    assert_eq!(cost.queries, 6);
    let (none, _) = look_up(&conf(&[failing.address]), "absent.").await;
    let Err(error @ LookupError::Rcode { rcode: 2, .. }) = none else {
        panic!("{none:?}");
    };
    assert!(error.to_string().ends_with("answered SERVFAIL"), "{error}");
    let (none, cost) = look_up(&conf(&[silent.address]), "absent").await;
    assert!(matches!(none, Err(LookupError::Silent { .. })));
    assert_eq!(cost.queries, 4, "two rounds, and no search after silence");
    let (none, _) = look_up(&conf(&[nobody()]), "absent.").await;
    let Err(LookupError::Io { source, .. }) = none else {
        panic!("{none:?}");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionRefused);
    let (none, _) = look_up(&conf(&[]), "absent.").await;
    assert!(matches!(none, Err(LookupError::NoServer)));
    let mut cost = Cost::default();
    let v6 = [RecordType::AAAA];
    let none = lookup(&conf(&[good.address]), "www.example.com.", &v6, &mut cost).await;
    assert!(matches!(none, Err(LookupError::NoAddress)));
}

#[tokio::test]
async fn what_did_not_fit_is_asked_for_over_tcp() {
    let server = serve(Manner::Truncates).await;
    let (found, cost) = look_up(&conf(&[server.address]), "www.example.com.").await;
    found.unwrap();
    assert_eq!(cost.queries, 4);
}

#[tokio::test]
async fn a_server_that_fails_for_one_family_has_answered() {
    let server = serve(Manner::FailsForV6).await;
    let (found, cost) = look_up(&conf(&[server.address]), "www.example.com.").await;
    assert_eq!(found.unwrap().addresses.len(), 1);
    assert_eq!(cost.queries, 2);
}
