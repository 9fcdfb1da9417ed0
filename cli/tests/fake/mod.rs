//! An aggregator's public API that answers what a test wants, on a loopback port.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use meshprobe_proto::v1;
use meshprobe_proto::v1::mesh_service_server::{MeshService, MeshServiceServer};
use tokio::sync::broadcast;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

/// What the aggregator answers.
#[derive(Clone, Debug)]
pub struct Answers {
    pub status: v1::Status,
    pub nodes: Vec<v1::Node>,
    pub matrix: v1::Matrix,
    pub incidents: Vec<v1::Incident>,
    pub path: Option<v1::PathDetail>,
    /// How long every answer takes.
    pub delay: Duration,
}

/// A running one; ends when dropped.
pub struct FakeAggregator {
    pub address: SocketAddr,
    pub incidents: broadcast::Sender<v1::Incident>,
    _runtime: tokio::runtime::Runtime,
}

impl FakeAggregator {
    pub fn start(answers: Answers) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address");
        let (incidents, _) = broadcast::channel(64);
        let service = Fake {
            answers: Arc::new(answers),
            incidents: incidents.clone(),
        };
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("in a runtime");
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            tonic::transport::Server::builder()
                .add_service(MeshServiceServer::new(service))
                .serve_with_incoming(incoming)
                .await
                .expect("serves");
        });
        Self {
            address,
            incidents,
            _runtime: runtime,
        }
    }
}

struct Fake {
    answers: Arc<Answers>,
    incidents: broadcast::Sender<v1::Incident>,
}

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Fake {
    async fn answer<T>(&self, message: T) -> Answer<T> {
        tokio::time::sleep(self.answers.delay).await;
        Ok(Response::new(message))
    }
}

/// The window of ten seconds that a moment is in.
fn window(at: prost_types::Timestamp) -> v1::HistoryWindow {
    let start = at.seconds - at.seconds.rem_euclid(10);
    let whole = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    v1::HistoryWindow {
        start: whole(start),
        end: whole(start + 10),
        resolution_seconds: 10,
        recorded_seconds: 10,
    }
}

#[tonic::async_trait]
impl MeshService for Fake {
    type WatchMatrixStream = Messages<v1::Matrix>;
    async fn list_notifications(
        &self,
        request: Request<v1::ListNotificationsRequest>,
    ) -> Answer<v1::ListNotificationsResponse> {
        let states = request.into_inner().states;
        let wanted = |one: &v1::Notification| states.is_empty() || states.contains(&one.state);
        let notifications = crate::samples::notifications().into_iter().filter(wanted);
        self.answer(v1::ListNotificationsResponse {
            notifications: notifications.collect(),
            next_page_token: String::new(),
        })
        .await
    }

    async fn retry_notification(
        &self,
        request: Request<v1::RetryNotificationRequest>,
    ) -> Answer<v1::RetryNotificationResponse> {
        let v1::RetryNotificationRequest { receiver, id } = request.into_inner();
        let notification = v1::Notification {
            receiver,
            id,
            ..v1::Notification::default()
        };
        self.answer(v1::RetryNotificationResponse {
            notification: Some(notification),
        })
        .await
    }

    async fn send_test_notification(
        &self,
        request: Request<v1::SendTestNotificationRequest>,
    ) -> Answer<v1::SendTestNotificationResponse> {
        let test = |receiver: &str, delivered: bool, answer: &str| v1::NotificationTest {
            receiver: receiver.to_owned(),
            id: "test.1".to_owned(),
            delivered,
            answer: answer.to_owned(),
        };
        let all = [
            test("chat", false, "404 Not Found: no_service"),
            test("pager", true, "200 OK: thank you"),
        ];
        let receiver = request.into_inner().receiver;
        let wanted = |test: &v1::NotificationTest| receiver.is_empty() || test.receiver == receiver;
        self.answer(v1::SendTestNotificationResponse {
            tests: all.into_iter().filter(wanted).collect(),
        })
        .await
    }

    type WatchIncidentsStream = Messages<v1::Incident>;
    type GetBundleStream = Messages<v1::BundleChunk>;

    /// The file in two chunks.
    async fn get_bundle(
        &self,
        request: Request<v1::GetBundleRequest>,
    ) -> Answer<Self::GetBundleStream> {
        let id = request.into_inner().id;
        let chunks =
            ["bundle of ".to_owned(), id].map(|data| Ok(v1::BundleChunk { data: data.into() }));
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::Status> {
        self.answer(self.answers.status.clone()).await
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Answer<v1::ListNodesResponse> {
        let nodes = self.answers.nodes.clone();
        let window = request.into_inner().at.map(window);
        self.answer(v1::ListNodesResponse { nodes, window }).await
    }

    async fn get_matrix(&self, request: Request<v1::GetMatrixRequest>) -> Answer<v1::Matrix> {
        let v1::GetMatrixRequest {
            kind,
            plane,
            family,
            at,
        } = request.into_inner();
        let layer = Some(v1::Layer {
            kind,
            plane,
            family,
        });
        self.answer(v1::Matrix {
            layer,
            window: at.map(window),
            ..self.answers.matrix.clone()
        })
        .await
    }

    async fn watch_matrix(
        &self,
        request: Request<v1::WatchMatrixRequest>,
    ) -> Answer<Self::WatchMatrixStream> {
        assert!(request.get_ref().min_interval_millis >= 100);
        let one = tokio_stream::once(Ok(self.answers.matrix.clone()));
        Ok(Response::new(Box::pin(one.chain(tokio_stream::pending()))))
    }

    async fn get_path(&self, request: Request<v1::GetPathRequest>) -> Answer<v1::PathDetail> {
        match &self.answers.path {
            Some(path) => {
                self.answer(v1::PathDetail {
                    window: request.get_ref().at.map(window),
                    ..path.clone()
                })
                .await
            }
            None => Err(Status::not_found(format!(
                "there is no node {:?}",
                request.get_ref().target
            ))),
        }
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Answer<v1::NodeDetail> {
        let name = request.into_inner().name;
        let found = self.answers.nodes.iter().find(|node| node.name == name);
        match found {
            Some(node) => {
                self.answer(v1::NodeDetail {
                    node: Some(node.clone()),
                    ..v1::NodeDetail::default()
                })
                .await
            }
            None => Err(Status::not_found(format!("there is no node {name:?}"))),
        }
    }

    async fn drain_node(&self, request: Request<v1::DrainNodeRequest>) -> Answer<v1::Node> {
        let v1::DrainNodeRequest {
            node,
            duration_seconds,
            author,
            comment,
        } = request.into_inner();
        let known = self.answers.nodes.iter().find(|one| one.name == node);
        let known =
            known.ok_or_else(|| Status::not_found(format!("no node is called {node:?}")))?;
        self.answer(v1::Node {
            lifecycle: v1::Lifecycle::Draining.into(),
            state: v1::NodeState::Leaving.into(),
            state_reason: format!("Drained for {duration_seconds} s by {author}: {comment}"),
            ..known.clone()
        })
        .await
    }

    async fn end_drain(&self, request: Request<v1::EndDrainRequest>) -> Answer<v1::Node> {
        let name = request.into_inner().node;
        let found = self.answers.nodes.iter().find(|node| node.name == name);
        match found {
            Some(node) => self.answer(node.clone()).await,
            None => Err(Status::not_found(format!("no node is called {name:?}"))),
        }
    }

    async fn add_event(&self, request: Request<v1::AddEventRequest>) -> Answer<v1::NodeDetail> {
        let v1::AddEventRequest {
            node,
            reason,
            message,
            at,
        } = request.into_inner();
        let known = self.answers.nodes.iter().find(|one| one.name == node);
        self.answer(v1::NodeDetail {
            node: known.cloned(),
            probers: Vec::new(),
            events: vec![v1::ClusterEvent {
                at,
                reason,
                message,
            }],
        })
        .await
    }

    async fn run_probe(
        &self,
        request: Request<v1::RunProbeRequest>,
    ) -> Answer<v1::RunProbeResponse> {
        let request = request.into_inner();
        if request.target == "nobody" {
            return Err(Status::not_found("there is no node \"nobody\""));
        }
        let is_lost = request.target == "mesh-3";
        let outcome = if is_lost {
            v1::OutcomeClass::Timeout
        } else {
            v1::OutcomeClass::Reply
        };
        self.answer(v1::RunProbeResponse {
            outcome: outcome.into(),
            rtt_seconds: (!is_lost).then_some(0.000_31),
            ..v1::RunProbeResponse::default()
        })
        .await
    }

    /// One incident a page: the client must turn pages.
    async fn list_incidents(
        &self,
        request: Request<v1::ListIncidentsRequest>,
    ) -> Answer<v1::ListIncidentsResponse> {
        let request = request.into_inner();
        let open = v1::IncidentState::Open;
        let wanted =
            |incident: &&v1::Incident| request.include_resolved || incident.state() == open;
        let matching: Vec<v1::Incident> = self
            .answers
            .incidents
            .iter()
            .filter(wanted)
            .cloned()
            .collect();
        let page: usize = request.page_token.parse().unwrap_or(0);
        let is_last = page + 1 >= matching.len();
        self.answer(v1::ListIncidentsResponse {
            incidents: matching.into_iter().skip(page).take(1).collect(),
            next_page_token: if is_last {
                String::new()
            } else {
                (page + 1).to_string()
            },
        })
        .await
    }

    /// One finding a page, as many as there are open incidents; in zone-b there is another one.
    async fn list_findings(
        &self,
        request: Request<v1::ListFindingsRequest>,
    ) -> Answer<v1::ListFindingsResponse> {
        let request = request.into_inner();
        let all = self.answers.incidents.iter();
        let open = all.filter(|incident| incident.state() == v1::IncidentState::Open);
        let mut findings: Vec<v1::Finding> = open.map(crate::samples::finding_of).collect();
        if request.zone == "zone-b" {
            findings.push(crate::samples::lossy_zones());
        }
        let page: usize = request.page_token.parse().unwrap_or(0);
        let is_last = page + 1 >= findings.len();
        self.answer(v1::ListFindingsResponse {
            at: self.answers.status.started_at,
            findings: findings.into_iter().skip(page).take(1).collect(),
            next_page_token: if is_last {
                String::new()
            } else {
                (page + 1).to_string()
            },
            window: request.at.map(window),
            incomplete_reason: String::new(),
        })
        .await
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Answer<v1::Explanation> {
        let v1::ExplainRequest { source, target } = request.into_inner();
        if target == "mesh-9" {
            return Err(Status::not_found(
                "no node and no target is called \"mesh-9\"",
            ));
        }
        let is_broken = self.answers.status.open_incidents > 0;
        let explanation = if is_broken {
            crate::samples::explanation()
        } else {
            v1::Explanation {
                conclusion: v1::Conclusion::Works.into(),
                ..v1::Explanation::default()
            }
        };
        self.answer(v1::Explanation {
            source,
            target,
            ..explanation
        })
        .await
    }

    async fn get_incident(
        &self,
        request: Request<v1::GetIncidentRequest>,
    ) -> Answer<v1::IncidentDetail> {
        let id = request.into_inner().id;
        let found = self.answers.incidents.iter().find(|one| one.id == id);
        match found {
            Some(incident) => self.answer(crate::samples::incident_detail(incident)).await,
            None => Err(Status::not_found(format!("no incident has the id {id}"))),
        }
    }

    /// In force at once, as the aggregator has it.
    async fn create_silence(
        &self,
        request: Request<v1::CreateSilenceRequest>,
    ) -> Answer<v1::Silence> {
        let request = request.into_inner();
        if request.matchers.iter().any(|one| one.name == "nod") {
            return Err(Status::invalid_argument("nothing is called \"nod\" here"));
        }
        self.answer(v1::Silence {
            kind: request.kind,
            matchers: request.matchers,
            author: request.author,
            comment: request.comment,
            ..crate::samples::silence()
        })
        .await
    }

    async fn list_silences(
        &self,
        request: Request<v1::ListSilencesRequest>,
    ) -> Answer<v1::ListSilencesResponse> {
        let mut silences = vec![crate::samples::silence()];
        silences.extend(
            request
                .get_ref()
                .include_expired
                .then(crate::samples::expired),
        );
        self.answer(v1::ListSilencesResponse {
            silences,
            next_page_token: String::new(),
        })
        .await
    }

    async fn delete_silence(
        &self,
        request: Request<v1::DeleteSilenceRequest>,
    ) -> Answer<v1::Silence> {
        let id = request.into_inner().id;
        if id != crate::samples::silence().id {
            return Err(Status::not_found(format!("no silence has the id {id}")));
        }
        self.answer(v1::Silence {
            id,
            ..crate::samples::expired()
        })
        .await
    }

    async fn watch_incidents(
        &self,
        _: Request<v1::WatchIncidentsRequest>,
    ) -> Answer<Self::WatchIncidentsStream> {
        let changes = tokio_stream::wrappers::BroadcastStream::new(self.incidents.subscribe());
        let open: Vec<_> = self.answers.incidents.iter().cloned().map(Ok).collect();
        let changes = changes.map(|change| change.map_err(|_| Status::data_loss("lagged")));
        Ok(Response::new(Box::pin(
            tokio_stream::iter(open).chain(changes),
        )))
    }
}
