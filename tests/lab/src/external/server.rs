//! A target's web server as a process.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::certificates::Files;
use super::{LabTarget, nginx};
use crate::addressing as at;
use crate::lab::{LabError, lock, resolv_conf_path};
use crate::namespace;
use crate::process::{Process, ProcessBuilder, ProcessError};

/// A freshly started server answers within this.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct WebServer {
    target: LabTarget,
    program: PathBuf,
    config: PathBuf,
    directory: PathBuf,
    state_directory: PathBuf,
    process: Mutex<Option<Process>>,
}

impl WebServer {
    /// Writes its configuration.
    pub(super) fn new(
        program: &Path,
        target: &LabTarget,
        files: &Files,
        directory: &Path,
        state_directory: &Path,
    ) -> Result<Self, LabError> {
        let config = directory.join(format!("{}.conf", target.name));
        fs::write(&config, nginx::config(target, files, directory)).map_err(|source| {
            LabError::Write {
                path: config.clone(),
                source,
            }
        })?;
        Ok(Self {
            target: target.clone(),
            program: program.to_owned(),
            config,
            directory: directory.to_owned(),
            state_directory: state_directory.to_owned(),
            process: Mutex::new(None),
        })
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.target.name == name
    }

    pub(crate) fn start(&self) -> Result<(), LabError> {
        let mut slot = lock(&self.process);
        let process = ProcessBuilder::new(
            self.target.name,
            at::INTERNET,
            &self.program,
            &self.state_directory,
            Some(resolv_conf_path(at::INTERNET)),
        )
        .arg("-p")
        .arg(&self.directory)
        .arg("-c")
        .arg(&self.config)
        .spawn()?;
        let log = process.stderr_path().to_owned();
        *slot = Some(process);
        for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
            if answers(self.target.http()) {
                return Ok(());
            }
            thread::sleep(STEP);
        }
        Err(LabError::ServerSilent {
            name: self.target.name.to_owned(),
            log,
        })
    }

    pub(super) fn stop(&self) -> Result<(), ProcessError> {
        match lock(&self.process).take() {
            Some(mut process) => process.kill().map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn end(&self) {
        drop(lock(&self.process).take());
    }
}

/// Whether a web server says anything. All ports are bound before the first connection is taken.
fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = namespace::connect_in(at::INTERNET, address, REQUEST_TIMEOUT) else {
        return false;
    };
    let mut first = [0; 5];
    stream
        .set_read_timeout(Some(REQUEST_TIMEOUT))
        .and_then(|()| stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n"))
        .and_then(|()| stream.read_exact(&mut first))
        .is_ok()
        && &first == b"HTTP/"
}
