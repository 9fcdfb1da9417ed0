//! How `meshprobe demo break …` reaches the demo in the other terminal: a socket of the file system, one JSON line each way.

use std::env;
use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use meshprobe_lab::Fault;
use serde::{Deserialize, Serialize};

/// Where the socket is, if not at the usual place: several demos can run side by side.
const PATH_VARIABLE: &str = "MESHPROBE_DEMO_SOCKET";
/// Who connects says what it wants at once. Healing a long freeze takes as long as the freeze.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);
/// Longest request or answer.
const MAX_LINE: u64 = 1 << 20;
/// Requests that wait for the demo: people type slowly.
const WAITING: usize = 4;

/// What is asked of the running demo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// Inject a fault.
    Break(Fault),
    /// Heal a fault.
    Heal(Fault),
    /// Heal all faults.
    HealAll,
    /// What is going on?
    Status,
    /// End.
    Stop,
}

/// A text for the person who asked, or why not.
type Answer = Result<String, String>;

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    reply: SyncSender<Answer>,
}

impl Asked {
    pub(super) fn answer(self, answer: Answer) {
        // Whoever asked may have gone meanwhile.
        drop(self.reply.send(answer));
    }
}

/// The socket's path: the same for every program of this user.
pub(super) fn path() -> PathBuf {
    if let Some(path) = env::var_os(PATH_VARIABLE) {
        return PathBuf::from(path);
    }
    match env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) => Path::new(&directory).join("meshprobe-demo.sock"),
        None => env::temp_dir().join(format!(
            "meshprobe-demo-{}.sock",
            rustix::process::getuid().as_raw()
        )),
    }
}

/// Opens the socket. One that nobody listens on any more is replaced.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    let explain =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if UnixStream::connect(path).is_ok() {
        let message = "a demo runs already; end it with `meshprobe demo stop`";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(explain(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(explain)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(explain)?;
    Ok(listener)
}

/// The demo's end of the socket.
#[derive(Debug)]
pub(super) struct Control {
    asked: Receiver<Asked>,
    is_ready: Arc<AtomicBool>,
}

impl Control {
    /// From now on requests are not turned away any more.
    pub(super) fn open(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    /// The next request, if one comes within this time.
    pub(super) fn next(&self, patience: Duration) -> Result<Asked, RecvTimeoutError> {
        self.asked.recv_timeout(patience)
    }
}

/// Serves the socket on a thread of its own. Requests come one at a time; until [`Control::open`] they are told to wait.
pub(super) fn serve(listener: UnixListener) -> io::Result<Control> {
    let (asked_tx, asked_rx) = sync_channel(WAITING);
    let is_ready = Arc::new(AtomicBool::new(false));
    let ready = Arc::clone(&is_ready);
    thread::Builder::new()
        .name("demo-control".to_owned())
        .spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that talks nonsense or goes away concerns nobody else.
                drop(converse(&stream, &asked_tx, &ready));
            }
        })?;
    Ok(Control {
        asked: asked_rx,
        is_ready,
    })
}

fn converse(
    stream: &UnixStream,
    asked: &SyncSender<Asked>,
    is_ready: &AtomicBool,
) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(REQUEST_PATIENCE))?;
    let answer = match serde_json::from_str(&read_line(stream)?) {
        Ok(_) if !is_ready.load(Ordering::Acquire) => {
            Err("the demo is still starting; wait until it shows the matrix".to_owned())
        }
        Ok(request) => {
            let (reply, replied) = sync_channel(1);
            asked.send(Asked { request, reply })?;
            replied.recv()?
        }
        Err(error) => Err(format!(
            "the running demo does not understand this: {error}. Is it another version?"
        )),
    };
    write_line(stream, &serde_json::to_string(&answer)?)
}

/// Asks the running demo.
pub(super) fn ask(path: &Path, request: &Request) -> anyhow::Result<String> {
    let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow!("no demo is running. Start one in another terminal: meshprobe demo")
        }
        _ => anyhow!("cannot talk to the demo at {}: {error}", path.display()),
    })?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    write_line(&stream, &serde_json::to_string(request)?).context("ask the running demo")?;
    let answer = read_line(&stream).context("read the running demo's answer")?;
    let answer: Answer =
        serde_json::from_str(&answer).context("understand the running demo's answer")?;
    answer.map_err(anyhow::Error::msg)
}

fn read_line(stream: &UnixStream) -> anyhow::Result<String> {
    let mut line = String::new();
    BufReader::new(stream).take(MAX_LINE).read_line(&mut line)?;
    if !line.ends_with('\n') {
        bail!("the connection ended inside a line");
    }
    Ok(line)
}

fn write_line(mut stream: &UnixStream, line: &str) -> anyhow::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str) -> PathBuf {
        env::temp_dir().join(format!("meshprobe-{name}-{}.sock", std::process::id()))
    }

    #[test]
    fn requests_are_answered_in_order_and_refusals_are_errors() {
        let path = socket("control");
        let control = serve(listen(&path).unwrap()).unwrap();
        let early = ask(&path, &Request::Status).unwrap_err().to_string();
        assert!(early.contains("still starting"), "{early}");
        control.open();
        let demo = thread::spawn(move || {
            for asked in control.asked.iter().take(2) {
                let answer = match &asked.request {
                    Request::Break(fault) => Ok(format!("broken: {fault}")),
                    _ => Err("nothing is broken".to_owned()),
                };
                asked.answer(answer);
            }
        });
        let fault: Fault = "path-one-way mesh-1 mesh-2".parse().unwrap();
        assert_eq!(
            ask(&path, &Request::Break(fault)).unwrap(),
            "broken: path-one-way mesh-1 mesh-2"
        );
        assert_eq!(
            ask(&path, &Request::HealAll).unwrap_err().to_string(),
            "nothing is broken"
        );
        demo.join().unwrap();
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_second_demo_is_refused_and_a_dead_socket_is_replaced() {
        let path = socket("taken");
        let first = listen(&path).unwrap();
        assert!(listen(&path).unwrap_err().to_string().contains("demo stop"));
        drop(first);
        assert!(
            ask(&path, &Request::Status)
                .unwrap_err()
                .to_string()
                .contains("no demo is running")
        );
        let second = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may break the cluster");
        drop(second);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn nonsense_on_the_socket_gets_an_answer_and_harms_nobody() {
        let path = socket("nonsense");
        let control = serve(listen(&path).unwrap()).unwrap();
        control.open();
        let stream = UnixStream::connect(&path).unwrap();
        write_line(&stream, "{\"explode\": 1}").unwrap();
        assert!(read_line(&stream).unwrap().contains("another version"));
        drop(UnixStream::connect(&path).unwrap());
        let client = thread::spawn({
            let path = path.clone();
            move || ask(&path, &Request::Stop)
        });
        control.asked.recv().unwrap().answer(Ok("bye".to_owned()));
        assert_eq!(client.join().unwrap().unwrap(), "bye");
        fs::remove_file(&path).unwrap();
    }
}
