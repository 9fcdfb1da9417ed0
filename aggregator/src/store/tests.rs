//! The store on a real file: what was confirmed is there afterwards, and what cannot be trusted is refused.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use meshprobe_core::{ids::NodeName, path::Plane};
use meshprobe_daemon::tasks::Tasks;
use rusqlite::Connection;

use super::*;
use crate::{
    incident::{IncidentChange, Transition},
    membership::StoreChange,
    notify::tests::incident,
    receiver::{Labels, Message, News},
};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("meshprobe-store-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn settings(&self) -> StoreSettings {
        StoreSettings {
            path: self.0.join("a.db"),
            backlog: 100,
            keep_resolved: Duration::from_secs(3600),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Runs `work` on an open store and closes it.
async fn with_store<T>(
    settings: StoreSettings,
    work: impl AsyncFnOnce(StoreHandle) -> T,
) -> (T, Loaded) {
    let (store, loaded) = Store::open(settings).unwrap();
    let mut tasks = Tasks::new();
    let handle = store.spawn(&mut tasks);
    let result = work(handle).await;
    let shutdown = meshprobe_daemon::shutdown::Shutdown::new();
    shutdown.trigger();
    tasks.run(&shutdown, Duration::from_secs(60)).await.unwrap();
    (result, loaded)
}

fn opened(node: &str) -> Operation {
    let incident = incident(node, Timestamp::from_second(1_000).unwrap());
    Operation::Incident(Box::new(IncidentChange {
        transition: Transition::Opened,
        incident,
    }))
}

fn message(node: &str) -> Notification {
    Notification {
        id: format!("{node}.1"),
        receiver: "pager".to_owned(),
        message: Message::Change(News {
            change: IncidentChange {
                transition: Transition::Opened,
                incident: incident(node, Timestamp::UNIX_EPOCH),
            },
            labels: Labels::from([("node".to_owned(), node.to_owned())]),
            flapping: None,
        }),
        created_at_millis: 1,
        queued_at_millis: 1,
        attempts: 0,
        next_attempt_millis: 1,
        last_answer: None,
    }
}

fn progress(through: u64) -> Operation {
    Operation::Mesh(StoreChange::Progress(Progress {
        node: NodeName::try_from("a").unwrap(),
        plane: Plane::Pod,
        incarnation: 7,
        through,
        taken: through,
    }))
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let folder = Folder::new();
    let delivered = Operation::Progress {
        receiver: "pager".to_owned(),
        id: "b.1".to_owned(),
        state: NotificationState::Delivered,
        attempts: 1,
        next_attempt_millis: 1,
        queued_at_millis: 1,
        last_answer: Some("200 OK".to_owned()),
        at_millis: 2,
    };
    let ((), loaded) = with_store(folder.settings(), async |store| {
        assert_eq!(
            store
                .write(vec![opened("a"), Operation::Notify(Box::new(message("a")))])
                .await,
            Written::Durable
        );
        assert_eq!(
            store
                .write(vec![opened("b"), Operation::Notify(Box::new(message("b")))])
                .await,
            Written::Durable
        );
        assert_eq!(
            store.write(vec![delivered, progress(5), progress(9)]).await,
            Written::Durable
        );
    })
    .await;
    assert!(loaded.incidents.is_empty());

    let ((), loaded) = with_store(folder.settings(), async |_| {}).await;
    assert_eq!(loaded.incidents.len(), 2);
    assert_eq!(loaded.outbox, [message("a")]);
    assert_eq!(
        loaded
            .progress
            .iter()
            .map(|p| p.through)
            .collect::<Vec<_>>(),
        [9]
    );
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all() {
    let folder = Folder::new();
    with_store(folder.settings(), async |_| {}).await;
    // The second half of every batch will fail.
    let connection = Connection::open(folder.settings().path).unwrap();
    connection
        .execute_batch(
            "CREATE TRIGGER no_outbox BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    with_store(folder.settings(), async |store| {
        let written = store
            .write(vec![opened("a"), Operation::Notify(Box::new(message("a")))])
            .await;
        assert_eq!(written, Written::Kept);
        let count: u32 = connection
            .query_row("SELECT count(*) FROM incidents", [], |row| row.get(0))
            .unwrap();
        assert_eq!(
            count, 0,
            "an incident without its notification must not be there"
        );
        connection.execute_batch("DROP TRIGGER no_outbox").unwrap();
    })
    .await;
    let ((), loaded) = with_store(folder.settings(), async |_| {}).await;
    assert_eq!(
        (loaded.incidents.len(), loaded.outbox.len()),
        (1, 1),
        "what was kept is written at the end"
    );
}

#[tokio::test]
async fn a_change_that_the_store_will_never_take_does_not_hold_up_the_others() {
    let folder = Folder::new();
    with_store(folder.settings(), async |_| {}).await;
    let connection = Connection::open(folder.settings().path).unwrap();
    connection
        .execute_batch(
            "CREATE TRIGGER no_b BEFORE INSERT ON incidents WHEN NEW.summary LIKE 'b %'
             BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    drop(connection);
    with_store(folder.settings(), async |store| {
        let written = store
            .write(vec![opened("a"), opened("b"), opened("c")])
            .await;
        assert_eq!(written, Written::Kept);
        let mut state = store.watch_state();
        let writable = state.wait_for(StoreState::is_writable);
        let writable = tokio::time::timeout(Duration::from_secs(60), writable).await;
        assert_eq!(writable.unwrap().unwrap().dropped, 1);
    })
    .await;
    let ((), loaded) = with_store(folder.settings(), async |_| {}).await;
    assert_eq!(loaded.incidents.len(), 2);
}

#[tokio::test]
async fn a_locked_file_makes_the_store_unwritable_until_the_lock_is_gone() {
    let folder = Folder::new();
    with_store(folder.settings(), async |store| {
        let person = Connection::open(folder.settings().path).unwrap();
        person.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(store.write(vec![opened("a")]).await, Written::Kept);
        assert!(store.state().unwritable.unwrap().contains("locked"));
        assert_eq!(
            store.write(vec![opened("b")]).await,
            Written::Kept,
            "order is kept behind what waits"
        );
        person.execute_batch("ROLLBACK").unwrap();
        let mut state = store.watch_state();
        tokio::time::timeout(
            Duration::from_secs(60),
            state.wait_for(StoreState::is_writable),
        )
        .await
        .unwrap()
        .unwrap();
        assert_eq!(store.write(vec![opened("c")]).await, Written::Durable);
    })
    .await;
    let ((), loaded) = with_store(folder.settings(), async |_| {}).await;
    assert_eq!(loaded.incidents.len(), 3);
}

fn refusal(settings: StoreSettings) -> String {
    Store::open(settings).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_damaged_file_is_refused_with_what_to_do_and_left_alone() {
    let folder = Folder::new();
    let path = folder.settings().path;
    let nonsense =
        b"this is not a database at all, but it is long enough to be looked at as one".repeat(100);
    fs::write(&path, &nonsense).unwrap();
    let text = refusal(folder.settings());
    for expected in [path.to_str().unwrap(), "is damaged", ".recover", "mv "] {
        assert!(text.contains(expected), "{expected:?} is missing: {text}");
    }
    assert_eq!(fs::read(&path).unwrap(), nonsense);
}

#[tokio::test]
async fn damage_inside_is_found_at_the_start() {
    let folder = Folder::new();
    with_store(folder.settings(), async |store| {
        for number in 0..200 {
            store.write(vec![opened(&format!("n{number}"))]).await;
        }
    })
    .await;
    let path = folder.settings().path;
    let mut bytes = fs::read(&path).unwrap();
    // Past the header and the schema, so that only a real check sees it.
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3000].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    assert!(refusal(folder.settings()).contains("is damaged"));
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = Folder::new();
    let connection = Connection::open(folder.settings().path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let text = refusal(folder.settings());
    assert!(
        text.contains("newer version") && text.contains("99"),
        "{text}"
    );
}

#[test]
fn a_missing_folder_is_refused_with_what_to_do() {
    let mut settings = Folder::new().settings();
    settings.path = Path::new("/nonexistent/meshprobe/a.db").to_owned();
    let text = refusal(settings);
    assert!(
        text.contains("/nonexistent/meshprobe") && text.contains("create it"),
        "{text}"
    );
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused() {
    let folder = Folder::new();
    with_store(folder.settings(), async |_store| {
        assert!(refusal(folder.settings()).contains("used by another process"));
    })
    .await;
}
