//! The receiver of notifications, in namespace `internet`.
//!
//! A thread accepts; a thread for each connection reads one request, notes when its first byte came, and answers.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http;

/// A sender that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(10);

/// A notification as it arrived: Alertmanager's v4 JSON.
#[derive(Debug, Clone)]
pub struct Notification {
    /// When its first byte came.
    pub received_at: Instant,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; `null` if it was no JSON.
    pub body: Value,
    /// The status that it was answered with.
    pub answered: u16,
}

impl Notification {
    /// `firing` or `resolved`.
    pub fn status(&self) -> &str {
        self.body["status"].as_str().unwrap_or_default()
    }

    /// The summary of its first alert.
    pub fn summary(&self) -> &str {
        let alert = &self.body["alerts"][0];
        let annotations = [&alert["annotations"], &self.body["commonAnnotations"]];
        annotations
            .iter()
            .find_map(|texts| texts["summary"].as_str())
            .unwrap_or_default()
    }

    /// Our own pattern name (`node-dark`).
    pub fn pattern(&self) -> &str {
        let places = [
            &self.body["meshprobe"]["pattern"],
            &self.body["alerts"][0]["labels"]["pattern"],
            &self.body["commonLabels"]["pattern"],
        ];
        places
            .iter()
            .find_map(|place| place.as_str())
            .unwrap_or_default()
    }

    /// Does any alert in it name the node, alone or in a list?
    pub fn names(&self, node: &str) -> bool {
        let alerts = self.body["alerts"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let in_label = alerts
            .iter()
            .filter_map(|alert| alert["labels"].as_object())
            .flat_map(|labels| labels.values())
            .filter_map(Value::as_str)
            .any(|value| value.split([',', ' ']).any(|word| word == node));
        let own = self.body["meshprobe"]["scope"]["nodes"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        in_label || own.iter().any(|name| name == node)
    }

    /// Does it say that this pattern has begun at this node?
    pub fn is_firing(&self, pattern: &str, node: &str) -> bool {
        self.status() == "firing" && self.pattern() == pattern && self.names(node)
    }

    /// Does it say that this pattern is over at this node?
    pub fn is_resolved(&self, pattern: &str, node: &str) -> bool {
        self.status() == "resolved" && self.pattern() == pattern && self.names(node)
    }
}

/// The running receiver; ends when dropped.
#[derive(Debug)]
pub(super) struct Receiver {
    inbox: Arc<Inbox>,
    listener: TcpListener,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inbox {
    notifications: Mutex<Vec<Notification>>,
    arrived: Condvar,
    status: AtomicU16,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Vec<Notification>> {
        self.notifications
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    pub(super) fn start(listener: TcpListener) -> io::Result<Self> {
        let inbox = Arc::new(Inbox {
            notifications: Mutex::new(Vec::new()),
            arrived: Condvar::new(),
            status: AtomicU16::new(200),
        });
        let (accepted, shared) = (listener.try_clone()?, Arc::clone(&inbox));
        let accepting = thread::Builder::new()
            .name("webhooks".to_owned())
            .spawn(move || accept(&accepted, &shared))?;
        Ok(Self {
            inbox,
            listener,
            accepting: Some(accepting),
        })
    }

    pub(super) fn notifications(&self) -> Vec<Notification> {
        self.inbox.lock().clone()
    }

    pub(super) fn answer_with(&self, status: u16) {
        self.inbox.status.store(status, Ordering::Relaxed);
    }

    pub(super) fn wait_for(
        &self,
        patience: Duration,
        is_wanted: impl Fn(&Notification) -> bool,
    ) -> Option<Notification> {
        let find = |inbox: &[Notification]| {
            inbox
                .iter()
                .find(|notification| is_wanted(notification))
                .cloned()
        };
        let waited = self
            .inbox
            .arrived
            .wait_timeout_while(self.inbox.lock(), patience, |inbox| find(inbox).is_none());
        let (inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
        find(&inbox)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Wakes the thread that waits for a connection.
        let woken =
            nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if let (Ok(()), Some(accepting)) = (woken, self.accepting.take())
            && accepting.join().is_err()
        {
            tracing::warn!("The webhook receiver panicked");
        }
    }
}

fn accept(listener: &TcpListener, inbox: &Arc<Inbox>) {
    while let Ok((stream, _)) = listener.accept() {
        let inbox = Arc::clone(inbox);
        let served = thread::Builder::new()
            .name("webhook".to_owned())
            .spawn(move || {
                if let Err(error) = receive(stream, &inbox) {
                    tracing::debug!(%error, "A webhook connection ended without a request");
                }
            });
        if let Err(error) = served {
            tracing::warn!(%error, "Could not start a thread for a webhook");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is where the clock is read: the arrival is the measurement"
)]
fn receive(mut stream: TcpStream, inbox: &Inbox) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.peek(&mut [0])?;
    let received_at = Instant::now();
    let request = http::read(&stream, false)?;
    let answered = inbox.status.load(Ordering::Relaxed);
    inbox.lock().push(Notification {
        received_at,
        headers: request.headers,
        body: serde_json::from_slice(&request.body).unwrap_or_default(),
        answered,
    });
    inbox.arrived.notify_all();
    http::answer(&mut stream, answered)?;
    stream.shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn post(receiver: &Receiver, body: &str) -> String {
        let mut stream =
            TcpStream::connect(receiver.listener.local_addr().expect("bound")).expect("connects");
        write!(
            stream,
            "POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("is answered");
        answer
    }

    fn receiver() -> Receiver {
        Receiver::start(TcpListener::bind("127.0.0.1:0").expect("a port")).expect("starts")
    }

    const DARK: &str = r#"{"status": "firing", "commonAnnotations": {"summary": "mesh-3 is dark"},
        "alerts": [{"labels": {"alertname": "NodeDark", "pattern": "node-dark", "node": "mesh-3"}}]}"#;

    #[test]
    fn notifications_are_kept_in_the_order_of_their_arrival() {
        let receiver = receiver();
        assert!(post(&receiver, DARK).starts_with("HTTP/1.1 200 "));
        receiver.answer_with(503);
        assert!(post(&receiver, "no json").starts_with("HTTP/1.1 503 "));
        let inbox = receiver.notifications();
        assert!(inbox[0].is_firing("node-dark", "mesh-3"));
        assert!(!inbox[0].names("mesh-33") && !inbox[0].is_resolved("node-dark", "mesh-3"));
        assert_eq!(inbox[0].summary(), "mesh-3 is dark");
        assert_eq!((&inbox[1].body, inbox[1].answered), (&Value::Null, 503));
        assert!(inbox[0].received_at <= inbox[1].received_at);
    }

    #[test]
    fn who_waits_is_woken_by_the_notification_that_is_wanted() {
        let receiver = receiver();
        assert!(
            receiver
                .wait_for(Duration::from_millis(1), |_| true)
                .is_none()
        );
        thread::scope(|scope| {
            scope.spawn(|| {
                post(&receiver, r#"{"status": "resolved"}"#);
                post(&receiver, DARK);
            });
            let found = receiver.wait_for(Duration::from_secs(20), |n| {
                n.is_firing("node-dark", "mesh-3")
            });
            assert!(found.is_some());
        });
    }

    #[test]
    fn a_list_of_nodes_names_each_of_them() {
        let receiver = receiver();
        post(
            &receiver,
            r#"{"status": "firing", "meshprobe": {"pattern": "node-dark", "scope": {"nodes": ["mesh-2", "mesh-3"]}}}"#,
        );
        post(
            &receiver,
            r#"{"status": "firing", "alerts": [{"labels": {"pattern": "node-dark", "node": "mesh-2,mesh-3"}}]}"#,
        );
        for notification in receiver.notifications() {
            assert!(
                notification.is_firing("node-dark", "mesh-2")
                    && notification.is_firing("node-dark", "mesh-3")
            );
        }
    }
}
