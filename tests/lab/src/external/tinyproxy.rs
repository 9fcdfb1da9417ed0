//! A forward proxy: plain requests, and tunnels by `CONNECT`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{HTTP_PORT, HTTPS_PORT};
use crate::addressing as at;
use crate::lab::{LabError, resolv_conf_path};
use crate::namespace;
use crate::process::{Process, ProcessBuilder};

const NAME: &str = "proxy";
/// A freshly started proxy listens within this.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn start(
    program: &Path,
    address: SocketAddr,
    directory: &Path,
    state_directory: &Path,
) -> Result<Process, LabError> {
    let path = directory.join("tinyproxy.conf");
    fs::write(&path, config(address)).map_err(|source| LabError::Write {
        path: path.clone(),
        source,
    })?;
    let process = ProcessBuilder::new(
        NAME,
        at::INTERNET,
        program,
        state_directory,
        Some(resolv_conf_path(at::INTERNET)),
    )
    .arg("-d")
    .arg("-c")
    .arg(&path)
    .spawn()?;
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if namespace::connect_in(at::INTERNET, address, CONNECT_TIMEOUT).is_ok() {
            return Ok(process);
        }
        thread::sleep(STEP);
    }
    Err(LabError::ServerSilent {
        name: NAME.to_owned(),
        log: process.stdout_path().to_owned(),
    })
}

/// Tunnels to the targets' ports only: a proxy that refuses others is the usual one.
fn config(address: SocketAddr) -> String {
    format!(
        "Listen {}\n\
         Port {}\n\
         Timeout 60\n\
         MaxClients 200\n\
         LogLevel Notice\n\
         ConnectPort {HTTPS_PORT}\n\
         ConnectPort {HTTP_PORT}\n",
        address.ip(),
        address.port()
    )
}
