//! One attempt at a target: the phases in their order, and what each of them has found.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use meshprobe_core::detail::{ExternalDetail, Phases, bounded_text};
use meshprobe_core::outcome::Outcome;
use meshprobe_core::path::Family;
use meshprobe_core::time::Moment;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::fence::Refusal;
use super::handshake::{shake_hands, version_name};
use super::http::{self, Response};
use super::probe::ExternalTools;
use super::proxy::Proxy;
use super::tunnel::{self, TunnelError};
use super::witness::Presented;
use crate::assignment::external::{Ask, ExternalTarget, HostPort, HttpAsk};
use crate::clock::Clock;
use crate::tcp::probe::connect_outcome;

/// Why an attempt failed.
#[derive(Debug)]
pub struct Failed {
    /// What that says about the path.
    pub outcome: Outcome,
    /// For people.
    pub reason: String,
    /// Whose fault it is.
    pub blame: Blame,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The target's, or that of the way to it.
    Way,
    /// Nobody's: the target is outside the fence, and no packet was sent.
    Fence,
    /// Nothing could be sent, because of what this node or the assignment says.
    Setup,
}

/// One attempt. What it has found is kept here, so that it survives the end of its time.
#[derive(Debug)]
pub struct Attempt<'a> {
    tools: &'a ExternalTools,
    clock: Clock,
    target: &'a ExternalTarget,
    /// What was found so far.
    pub detail: ExternalDetail,
    /// What is being done.
    pub doing: &'static str,
}

/// What is asked for in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Nothing: the connection is the answer.
    Connect,
    /// A TLS handshake.
    Secure,
    /// A request in the clear, which a proxy takes as it is.
    Plain,
}

fn failed(outcome: Outcome, reason: impl Into<String>) -> Failed {
    Failed {
        outcome,
        reason: reason.into(),
        blame: Blame::Way,
    }
}

fn impossible(reason: impl Into<String>) -> Failed {
    Failed {
        blame: Blame::Setup,
        ..failed(Outcome::Invalid, reason)
    }
}

impl<'a> Attempt<'a> {
    /// Nothing is sent yet.
    pub fn new(tools: &'a ExternalTools, clock: Clock, target: &'a ExternalTarget) -> Self {
        Self {
            tools,
            clock,
            target,
            detail: ExternalDetail::default(),
            doing: "starting",
        }
    }

    /// Makes it; the round-trip time. Dropping it ends it at once.
    pub async fn run(&mut self) -> Result<Duration, Failed> {
        let target = self.target;
        let started = self.clock.now();
        match &target.ask {
            Ask::TcpConnect(at) => {
                let before = self.reach(at, Purpose::Connect).await?.1;
                self.detail.phases.total = Some(self.since(started));
                return Ok(self.since(before));
            }
            Ask::Tls(at) => {
                let stream = self.reach(at, Purpose::Secure).await?.0;
                self.secure(stream, &at.host, true, false).await?;
            }
            Ask::Http(ask) => self.follow(ask).await?,
        }
        let total = self.since(started);
        self.detail.phases.total = Some(total);
        Ok(total)
    }

    fn since(&self, then: Moment) -> Duration {
        self.clock.now().saturating_since(then)
    }

    /// Requests and redirects.
    async fn follow(&mut self, ask: &HttpAsk) -> Result<(), Failed> {
        let mut url = ask.url.clone();
        loop {
            let response = self.request(ask, &url).await?;
            let status = response.status.as_u16();
            self.detail.status = Some(status);
            let next = response.location.filter(|_| follows(ask, status));
            if let Some(location) = next {
                if self.detail.redirects >= ask.max_redirects {
                    let most = ask.max_redirects;
                    let reason = format!(
                        "more than {most} redirects; the last one to {}",
                        shown(&location)
                    );
                    return Err(failed(Outcome::HttpStatus(status), reason));
                }
                url = redirected(&url, &location)?;
                self.detail.redirects += 1;
                self.detail.phases = Phases::default();
                continue;
            }
            self.detail.body_matched = response.body_matched;
            return if !ask.accepts(status) {
                let reason = format!("status {}", response.status);
                Err(failed(Outcome::HttpStatus(status), reason))
            } else if response.body_matched == Some(false) {
                let reason = "the body does not have the expected text";
                Err(failed(Outcome::WrongAnswer, reason))
            } else {
                Ok(())
            };
        }
    }

    /// One hop.
    async fn request(&mut self, ask: &HttpAsk, url: &Url) -> Result<Response, Failed> {
        let at = host_port(url)?;
        let is_plain = url.scheme() == "http";
        let purpose = if is_plain {
            Purpose::Plain
        } else {
            Purpose::Secure
        };
        let tools = self.tools;
        let proxy = tools.proxies.choose(is_plain, &at.host, at.port);
        let proxy = proxy.filter(|_| is_plain);
        let authorization = proxy.and_then(|proxy| proxy.authorization.as_deref());
        let request = http::request(url, proxy.is_some(), authorization)
            .map_err(|error| impossible(format!("build the request: {error}")))?;
        let stream = self.reach(&at, purpose).await?.0;
        let asked_for = &ask.expected_body;
        let wants_body =
            |status| !asked_for.is_empty() && ask.accepts(status) && !follows(ask, status);
        let clock = self.clock;
        let (asked_at, response) = if is_plain {
            self.doing = "waiting for the response";
            let asked_at = clock.now();
            let exchange = http::exchange(stream, request, clock, asked_for, wants_body);
            (asked_at, exchange.await)
        } else {
            let is_first = *url == ask.url;
            let stream = self.secure(stream, &at.host, is_first, true).await?;
            self.doing = "waiting for the response";
            let asked_at = clock.now();
            let exchange = http::exchange(stream, request, clock, asked_for, wants_body);
            (asked_at, exchange.await)
        };
        let response = response.map_err(|none| failed(none.outcome, none.reason))?;
        self.detail.phases.first_byte = Some(response.head_at.saturating_since(asked_at));
        Ok(response)
    }

    /// A connection to the target, and when its connect began.
    async fn reach(
        &mut self,
        at: &HostPort,
        purpose: Purpose,
    ) -> Result<(TcpStream, Moment), Failed> {
        let tools = self.tools;
        let is_plain = purpose == Purpose::Plain;
        self.detail.address = None;
        self.detail.proxy.clear();
        match tools.proxies.choose(is_plain, &at.host, at.port) {
            Some(proxy) => self.reach_through(proxy, at, purpose).await,
            None => self.reach_directly(at).await,
        }
    }

    async fn reach_directly(&mut self, at: &HostPort) -> Result<(TcpStream, Moment), Failed> {
        let family = Some(self.target.family);
        let addresses = self.look_up(&at.host, family).await?;
        let mut refused = None;
        let mut inside = Vec::new();
        for ip in addresses {
            let address = SocketAddr::new(ip, at.port);
            match self.tools.fence.check(address, is_local) {
                Ok(()) => inside.push(address),
                Err(refusal) => refused = refused.or(Some((address, refusal))),
            }
        }
        match (pick(&inside), refused) {
            (Some(address), _) => self.connect(address).await,
            (None, Some((address, refusal))) => Err(outside(address, refusal)),
            (None, None) => Err(impossible("no address")),
        }
    }

    async fn reach_through(
        &mut self,
        proxy: &Proxy,
        at: &HostPort,
        purpose: Purpose,
    ) -> Result<(TcpStream, Moment), Failed> {
        self.detail.proxy = bounded_text(&proxy.to_string());
        let fence = &self.tools.fence;
        let verdict = match at.host.parse::<IpAddr>() {
            Ok(literal) => fence.check(SocketAddr::new(literal, at.port), is_local),
            Err(_) => fence.check_name(&at.host, at.port),
        };
        let authority = authority(at);
        verdict.map_err(|refusal| outside(&authority, refusal))?;
        let addresses = self.look_up(&proxy.host, None).await?;
        let sockets: Vec<SocketAddr> = addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, proxy.port))
            .collect();
        let Some(address) = pick(&sockets) else {
            return Err(impossible("no address"));
        };
        let reached = self.connect(address).await;
        let (mut stream, began) = reached.map_err(|why| Failed {
            reason: format!("proxy {proxy}: {}", why.reason),
            ..why
        })?;
        if purpose != Purpose::Plain {
            self.doing = "waiting for the proxy's tunnel";
            let speaks_first = purpose == Purpose::Connect;
            tunnel::open(&mut stream, proxy, &authority, speaks_first)
                .await
                .map_err(|error| failed(tunnel_outcome(&error), error.to_string()))?;
        }
        Ok((stream, began))
    }

    async fn look_up(&mut self, host: &str, family: Option<Family>) -> Result<Vec<IpAddr>, Failed> {
        self.doing = "looking up its name";
        let before = self.clock.now();
        let found = self.tools.names.addresses(host, family).await;
        let found = found.map_err(|none| Failed {
            blame: if none.is_setup {
                Blame::Setup
            } else {
                Blame::Way
            },
            ..failed(none.outcome, none.reason)
        })?;
        self.detail.phases.dns = Some(self.since(before));
        Ok(found)
    }

    async fn connect(&mut self, address: SocketAddr) -> Result<(TcpStream, Moment), Failed> {
        self.doing = "connecting";
        self.detail.address = Some(address);
        let before = self.clock.now();
        let stream = connect(address).await.map_err(|error| {
            let reason = format!("connect to {address}: {error}");
            failed(connect_outcome(&error), reason)
        })?;
        self.detail.phases.connect = Some(self.since(before));
        Ok((stream, before))
    }

    /// The handshake; `is_named`: the target says which name the certificate must have.
    async fn secure(
        &mut self,
        stream: TcpStream,
        host: &str,
        is_named: bool,
        speaks_http: bool,
    ) -> Result<Box<TlsStream<TcpStream>>, Failed> {
        self.doing = "in the TLS handshake";
        let own_name = self.target.server_name.as_deref().filter(|_| is_named);
        let name = own_name.unwrap_or(host).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| impossible("the server's name is none for TLS"))?;
        let trust = &self.tools.trust;
        let authorities = trust
            .authorities(&self.target.ca_pem)
            .await
            .map_err(|error| impossible(error.to_string()))?;
        let before = self.clock.now();
        let shaken = shake_hands(trust, authorities, name, speaks_http, stream).await;
        if let Some(presented) = shaken.presented {
            self.remember(presented);
        }
        let stream = shaken
            .stream
            .map_err(|reason| failed(Outcome::TlsFailed, reason))?;
        self.detail.phases.tls = Some(self.since(before));
        self.detail.tls_version = version_name(stream.get_ref().1.protocol_version());
        Ok(stream)
    }

    fn remember(&mut self, presented: Presented) {
        if let Some(facts) = presented.facts {
            self.detail.certificate_not_after = Some(facts.not_after);
            self.detail.certificate_subject = bounded_text(&facts.subject);
            self.detail.certificate_issuer = bounded_text(&facts.issuer);
        }
    }
}

/// Is this a redirect that is followed? One that is expected is an answer.
fn follows(ask: &HttpAsk, status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
        && ask.max_redirects > 0
        && !ask.expected_statuses.contains(&status)
}

fn redirected(url: &Url, location: &str) -> Result<Url, Failed> {
    let wrong = || {
        let location = shown(location);
        failed(
            Outcome::WrongAnswer,
            format!("redirect to {location:?}, which cannot be followed"),
        )
    };
    let next = url.join(location).map_err(|_| wrong())?;
    if matches!(next.scheme(), "http" | "https") && next.host().is_some() {
        Ok(next)
    } else {
        Err(wrong())
    }
}

/// A redirect as evidence shows it: what follows `?` or `#` and what stands before `@` may be somebody's key.
fn shown(location: &str) -> String {
    let place = location.split(['?', '#']).next().unwrap_or_default();
    let place = match place.split_once("//") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}//{host}{path}")
        }
        None => place.to_owned(),
    };
    place.chars().take(128).collect()
}

fn host_port(url: &Url) -> Result<HostPort, Failed> {
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => return Err(impossible("the URL has no host")),
    };
    let port = url.port_or_known_default().unwrap_or(80);
    Ok(HostPort { host, port })
}

/// `host:port`, as CONNECT takes it.
fn authority(at: &HostPort) -> String {
    let HostPort { host, port } = at;
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn outside(what: impl std::fmt::Display, refusal: Refusal) -> Failed {
    Failed {
        outcome: Outcome::Invalid,
        reason: format!("{what} is outside the fence: {refusal}"),
        blame: Blame::Fence,
    }
}

fn tunnel_outcome(error: &TunnelError) -> Outcome {
    match error {
        TunnelError::Io(error) => connect_outcome(error),
        TunnelError::Closed => Outcome::Reset,
        TunnelError::Refused { status, .. } => Outcome::HttpStatus(*status),
        TunnelError::Malformed | TunnelError::TooLong | TunnelError::Early => Outcome::WrongAnswer,
    }
}

/// One of them, each as often as the others.
fn pick(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let count = u64::try_from(addresses.len()).ok().filter(|n| *n > 0)?;
    let turn = rand::random::<u64>() % count;
    addresses.get(turn as usize).copied()
}

/// From whatever address the routing table says: targets outside the mesh are reached as applications reach them.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// Is this an address of this machine? The routing table knows, without a packet.
pub(super) fn is_local(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let own = std::net::UdpSocket::bind((any, 0))
        .and_then(|socket| socket.connect((ip, 9)).and_then(|()| socket.local_addr()));
    own.is_ok_and(|own| own.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(statuses: &[u16], max_redirects: u8) -> HttpAsk {
        HttpAsk {
            url: Url::parse("https://shop.example.com/a").unwrap(),
            expected_statuses: statuses.to_vec(),
            expected_body: String::new(),
            max_redirects,
        }
    }

    #[test]
    fn a_redirect_is_followed_unless_it_is_the_answer() {
        assert!(follows(&ask(&[], 3), 302));
        assert!(!follows(&ask(&[], 0), 302));
        assert!(!follows(&ask(&[302], 3), 302));
        assert!(!follows(&ask(&[], 3), 304));
    }

    #[test]
    fn redirects_are_relative_or_absolute_and_stay_with_http() {
        let url = ask(&[], 0).url;
        let next = |location| redirected(&url, location).map(|url| url.to_string());
        assert_eq!(next("/b?c").unwrap(), "https://shop.example.com/b?c");
        assert_eq!(next("http://[::1]:80/").unwrap(), "http://[::1]/");
        for wrong in ["file:///etc/passwd", "http://", "javascript:1"] {
            assert!(next(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_redirect_is_shown_without_what_may_be_a_key() {
        for (location, expected) in [
            (
                "https://u:key@shop.example.com/a?t=key#key",
                "https://shop.example.com/a",
            ),
            ("//key@shop.example.com", "//shop.example.com"),
            ("/login?next=key", "/login"),
            ("/@team/a", "/@team/a"),
            ("?key", ""),
        ] {
            assert_eq!(shown(location), expected);
        }
        let error = redirected(&ask(&[], 0).url, "ftp://u:key@a.example/?key").unwrap_err();
        assert_eq!(
            error.reason,
            "redirect to \"ftp://a.example/\", which cannot be followed"
        );
    }

    #[test]
    fn own_addresses_are_known_without_a_packet() {
        assert!(is_local("127.0.0.1".parse().unwrap()));
        assert!(!is_local("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn every_address_has_its_turn() {
        let addresses: Vec<SocketAddr> = (1..=3)
            .map(|last| SocketAddr::from(([192, 0, 2, last], 80)))
            .collect();
        let picked: std::collections::HashSet<_> =
            (0..200).filter_map(|_| pick(&addresses)).collect();
        assert_eq!(picked.len(), 3);
        assert_eq!(pick(&[]), None);
    }
}
