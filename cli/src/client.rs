//! The public API over gRPC, with errors that say what to do.

mod changing;

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use meshprobe_core::path::Layer;
use meshprobe_proto::v1::{self, mesh_service_client::MeshServiceClient};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::args::Global;

/// A matrix of 5,000 nodes is 75 MB.
const MAX_MESSAGE: usize = 256 << 20;
/// A test waits for the receiver, whose timeout is at most a minute.
const LONGEST_TEST: Duration = Duration::from_secs(65);
/// A probe on demand ends by itself within this time: its longest timeout, its trace, and the ways to and fro.
const LONGEST_PROBE: Duration = Duration::from_secs(60);
/// How often a silent stream is checked for a live aggregator.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Incidents that are asked for at once; the API's maximum.
const PAGE: u32 = 1000;
/// Pages that are read at most: a hundred thousand incidents are not read by people.
const MAX_PAGES: usize = 100;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `--server` cannot be used.
    #[error(
        "cannot use {server:?} as the aggregator's address: {why}. Write --server host:port, for example 127.0.0.1:4860"
    )]
    Server {
        /// What was given.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody answers there.
    #[error(
        "cannot reach the aggregator at {server}: {why}. Is it running there? Set --server host:port or MESHPROBE_SERVER"
    )]
    Connect {
        /// Where.
        server: String,
        /// The deepest cause.
        why: String,
    },
    /// The answer takes too long.
    #[error("the aggregator at {server} did not answer within {}. Set --timeout to wait longer", humane(*after))]
    Timeout {
        /// Where.
        server: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Something answers, but not an aggregator that knows this request.
    #[error(
        "{server} does not know this request: it is no meshprobe aggregator's gRPC port, or its version is older"
    )]
    Unknown {
        /// Where.
        server: String,
    },
    /// The connection broke.
    #[error("lost the aggregator at {server}: {why}")]
    Lost {
        /// Where.
        server: String,
        /// What the transport says.
        why: String,
    },
    /// The aggregator refused, and said why.
    #[error("{message}")]
    Refused {
        /// What kind of refusal.
        code: Code,
        /// The aggregator's words.
        message: String,
    },
}

impl ClientError {
    /// May the same request succeed later without anybody changing it?
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Timeout { .. } | Self::Lost { .. }
        )
    }
}

/// A connection to an aggregator.
#[derive(Clone, Debug)]
pub struct Client {
    mesh: MeshServiceClient<Channel>,
    server: String,
    timeout: Duration,
}

impl Client {
    /// Connects as the global options say.
    pub async fn connect(global: &Global) -> Result<Self, ClientError> {
        let server = global.server.clone();
        let endpoint = endpoint(global)?;
        let failed = |why| ClientError::Connect {
            server: server.clone(),
            why,
        };
        let channel = tokio::time::timeout(global.timeout, endpoint.connect())
            .await
            .map_err(|_| failed(format!("no answer within {}", humane(global.timeout))))?
            .map_err(|error| failed(deepest(&error)))?;
        Ok(Self {
            mesh: MeshServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
            server,
            timeout: global.timeout,
        })
    }

    /// Where it is connected to.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// How the mesh and the aggregator are doing.
    pub async fn status(&self) -> Result<v1::Status, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.get_status(v1::GetStatusRequest {})).await
    }

    /// Every known node.
    pub async fn nodes(&self, at: Option<Timestamp>) -> Result<v1::ListNodesResponse, ClientError> {
        let mut mesh = self.mesh.clone();
        let at = at.map(wire_time);
        self.answer(mesh.list_nodes(v1::ListNodesRequest { at }))
            .await
    }

    /// One layer.
    pub async fn matrix(&self, layer: Layer) -> Result<v1::Matrix, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.get_matrix(matrix_request(layer))).await
    }

    /// One layer as it was.
    pub async fn matrix_at(&self, layer: Layer, at: Timestamp) -> Result<v1::Matrix, ClientError> {
        let mut mesh = self.mesh.clone();
        let request = v1::GetMatrixRequest {
            at: Some(wire_time(at)),
            ..matrix_request(layer)
        };
        self.answer(mesh.get_matrix(request)).await
    }

    /// Everything between two nodes.
    pub async fn path(
        &self,
        source: String,
        target: String,
        at: Option<Timestamp>,
    ) -> Result<v1::PathDetail, ClientError> {
        let mut mesh = self.mesh.clone();
        let at = at.map(wire_time);
        self.answer(mesh.get_path(v1::GetPathRequest { source, target, at }))
            .await
    }

    /// The bundle of an incident: the octets of a file.
    pub async fn bundle(&self, id: String) -> Result<Vec<u8>, ClientError> {
        let mut mesh = self.mesh.clone();
        let mut chunks = self
            .answer(mesh.get_bundle(v1::GetBundleRequest { id }))
            .await?;
        let mut file = Vec::new();
        while let Some(chunk) = chunks
            .message()
            .await
            .map_err(|status| self.explain(&status))?
        {
            file.extend_from_slice(&chunk.data);
        }
        Ok(file)
    }

    /// One node, its probers and its host.
    pub async fn node(&self, name: String) -> Result<v1::NodeDetail, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.get_node(v1::GetNodeRequest { name }))
            .await
    }

    /// Makes one probe and waits for its end.
    pub async fn run_probe(
        &self,
        request: v1::RunProbeRequest,
    ) -> Result<v1::RunProbeResponse, ClientError> {
        let mut mesh = self.mesh.clone();
        let patient = Self {
            timeout: self.timeout.max(LONGEST_PROBE),
            ..self.clone()
        };
        patient.answer(mesh.run_probe(request)).await
    }

    /// Notifications, newest first, all pages.
    pub async fn notifications(
        &self,
        states: Vec<i32>,
        receiver: String,
    ) -> Result<Vec<v1::Notification>, ClientError> {
        let mut notifications = Vec::new();
        let mut page_token = String::new();
        for _ in 0..MAX_PAGES {
            let mut mesh = self.mesh.clone();
            let request = v1::ListNotificationsRequest {
                states: states.clone(),
                receiver: receiver.clone(),
                page_size: PAGE,
                page_token,
            };
            let page = self.answer(mesh.list_notifications(request)).await?;
            notifications.extend(page.notifications);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(notifications)
    }

    /// Sends a test to a receiver, or to all, and waits for the answers.
    pub async fn test_notification(
        &self,
        receiver: String,
    ) -> Result<v1::SendTestNotificationResponse, ClientError> {
        let mut mesh = self.mesh.clone();
        let patient = Self {
            timeout: self.timeout.max(LONGEST_TEST),
            ..self.clone()
        };
        let request = v1::SendTestNotificationRequest { receiver };
        patient.answer(mesh.send_test_notification(request)).await
    }

    /// Tries a notification once more.
    pub async fn retry_notification(
        &self,
        request: v1::RetryNotificationRequest,
    ) -> Result<v1::RetryNotificationResponse, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.retry_notification(request)).await
    }

    /// Incidents, newest first, all pages.
    pub async fn incidents(
        &self,
        include_resolved: bool,
    ) -> Result<Vec<v1::Incident>, ClientError> {
        let mut incidents = Vec::new();
        let mut page_token = String::new();
        for _ in 0..MAX_PAGES {
            let mut mesh = self.mesh.clone();
            let request = v1::ListIncidentsRequest {
                include_resolved,
                page_size: PAGE,
                page_token,
            };
            let page = self.answer(mesh.list_incidents(request)).await?;
            incidents.extend(page.incidents);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(incidents)
    }

    /// What is wrong now, all pages; of several the time is that of the first.
    pub async fn findings(
        &self,
        request: v1::ListFindingsRequest,
    ) -> Result<v1::ListFindingsResponse, ClientError> {
        let mut all: Option<v1::ListFindingsResponse> = None;
        let mut page_token = String::new();
        for _ in 0..MAX_PAGES {
            let mut mesh = self.mesh.clone();
            let request = v1::ListFindingsRequest {
                page_size: PAGE,
                page_token,
                ..request.clone()
            };
            let page = self.answer(mesh.list_findings(request)).await?;
            page_token = page.next_page_token;
            match &mut all {
                Some(all) => all.findings.extend(page.findings),
                None => {
                    all = Some(v1::ListFindingsResponse {
                        next_page_token: String::new(),
                        ..page
                    });
                }
            }
            if page_token.is_empty() {
                break;
            }
        }
        Ok(all.unwrap_or_default())
    }

    /// Why one end cannot talk to another.
    pub async fn explanation(
        &self,
        source: String,
        target: String,
    ) -> Result<v1::Explanation, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.explain(v1::ExplainRequest { source, target }))
            .await
    }

    /// One incident with what became of it.
    pub async fn incident(&self, id: String) -> Result<v1::IncidentDetail, ClientError> {
        let mut mesh = self.mesh.clone();
        self.answer(mesh.get_incident(v1::GetIncidentRequest { id }))
            .await
    }

    /// One layer now and after each change.
    pub async fn watch_matrix(
        &self,
        layer: Layer,
        min_interval: Duration,
    ) -> Result<Streaming<v1::Matrix>, ClientError> {
        let mut mesh = self.mesh.clone();
        let request = v1::WatchMatrixRequest {
            matrix: Some(matrix_request(layer)),
            min_interval_millis: u32::try_from(min_interval.as_millis()).unwrap_or(u32::MAX),
        };
        self.answer(mesh.watch_matrix(request)).await
    }

    /// Open incidents now, then each change.
    pub async fn watch_incidents(&self) -> Result<Streaming<v1::Incident>, ClientError> {
        let mut mesh = self.mesh.clone();
        let request = Request::new(v1::WatchIncidentsRequest {});
        self.answer(mesh.watch_incidents(request)).await
    }

    /// What a failed call or a broken stream means.
    pub fn explain(&self, status: &Status) -> ClientError {
        let server = self.server.clone();
        match status.code() {
            Code::DeadlineExceeded => ClientError::Timeout {
                server,
                after: self.timeout,
            },
            Code::Unimplemented => ClientError::Unknown { server },
            // A transport error arrives as Unknown or Unavailable with a source and no text of the aggregator.
            Code::Unavailable | Code::Unknown | Code::Cancelled => ClientError::Lost {
                server,
                why: status
                    .source()
                    .map_or_else(|| status.message().to_owned(), deepest),
            },
            code => ClientError::Refused {
                code,
                message: status.message().to_owned(),
            },
        }
    }

    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer
                .map(Response::into_inner)
                .map_err(|status| self.explain(&status)),
            Err(_) => Err(ClientError::Timeout {
                server: self.server.clone(),
                after: self.timeout,
            }),
        }
    }
}

fn matrix_request(layer: Layer) -> v1::GetMatrixRequest {
    let layer = v1::Layer::from(layer);
    v1::GetMatrixRequest {
        kind: layer.kind,
        plane: layer.plane,
        family: layer.family,
        at: None,
    }
}

fn wire_time(at: Timestamp) -> prost_types::Timestamp {
    // A fraction before 1970 would have to be counted upwards; whole seconds are exact enough for windows.
    prost_types::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond().max(0),
    }
}

fn endpoint(global: &Global) -> Result<Endpoint, ClientError> {
    let wrong = |why: &str| ClientError::Server {
        server: global.server.clone(),
        why: why.to_owned(),
    };
    let (scheme, address) = match global.server.split_once("://") {
        Some((scheme @ ("http" | "https"), address)) => (scheme, address),
        Some(_) => return Err(wrong("only http:// and https:// can stand before it")),
        None if global.tls_ca.is_some() => ("https", global.server.as_str()),
        None => ("http", global.server.as_str()),
    };
    if scheme == "https" && global.tls_ca.is_none() {
        return Err(wrong(
            "for TLS the CA certificate is needed as well: --tls-ca FILE",
        ));
    }
    let address = address.trim_end_matches('/');
    let port = address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none_or(|port| port == 0) {
        return Err(wrong("the port is missing or no number from 1 to 65535"));
    }
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|error| wrong(&deepest(&error)))?
        .connect_timeout(global.timeout)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .user_agent(concat!("meshprobe-cli/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| wrong(&deepest(&error)))?;
    if let Some(ca) = &global.tls_ca {
        endpoint = endpoint
            .tls_config(tls(global, ca)?)
            .map_err(|error| wrong(&deepest(&error)))?;
    }
    Ok(endpoint)
}

fn tls(global: &Global, ca: &Path) -> Result<ClientTlsConfig, ClientError> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    if let (Some(certificate), Some(key)) = (&global.tls_cert, &global.tls_key) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    if let Some(name) = &global.tls_server_name {
        tls = tls.domain_name(name);
    }
    Ok(tls)
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|source| ClientError::File {
        path: path.to_owned(),
        source,
    })
}

/// The innermost error of a chain: "connection refused" and not "transport error".
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    // "Connection refused (os error 111)": the number helps nobody here.
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

fn humane(duration: Duration) -> String {
    format!("{duration:?}")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    fn global(line: &str) -> Global {
        Cli::try_parse_from(line.split_whitespace())
            .expect(line)
            .global
    }

    #[test]
    fn an_address_without_a_port_or_with_a_foreign_scheme_is_refused_with_advice() {
        for server in [
            "localhost",
            "localhost:",
            "a:0",
            "a:70000",
            "ftp://a:1",
            "a b:1",
        ] {
            let mut global = global("meshprobe status");
            global.server = server.to_owned();
            let error = endpoint(&global).expect_err(server).to_string();
            assert!(error.contains("for example 127.0.0.1:4860"), "{error}");
        }
    }

    #[test]
    fn names_addresses_and_schemes_are_accepted() {
        for server in [
            "localhost:4860",
            "10.0.0.1:4860",
            "[::1]:4860",
            "http://aggregator.mesh:4860/",
        ] {
            assert!(
                endpoint(&global(&format!("meshprobe status -s {server}"))).is_ok(),
                "{server}"
            );
        }
    }

    #[test]
    fn tls_needs_a_ca_that_can_be_read() {
        let error = endpoint(&global("meshprobe status -s https://a:1")).expect_err("no CA");
        assert!(error.to_string().contains("--tls-ca"), "{error}");
        let error = endpoint(&global("meshprobe status --tls-ca /nonexistent/ca.pem"))
            .expect_err("no file");
        assert!(
            error
                .to_string()
                .starts_with("cannot read /nonexistent/ca.pem"),
            "{error}"
        );
    }
}
