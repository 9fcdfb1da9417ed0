//! A web server as a process.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::lab::{LabError, lock, resolv_conf_path};
use crate::namespace;
use crate::process::{Process, ProcessBuilder, ProcessError};

/// A freshly started server answers within this.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct WebServer {
    site: Site,
    program: PathBuf,
    config: PathBuf,
    directory: PathBuf,
    state_directory: PathBuf,
    process: Mutex<Option<Process>>,
}

/// Which server it is, and where.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) name: &'static str,
    pub(super) namespace: String,
    /// Where it answers when it is up.
    pub(super) address: SocketAddr,
}

impl WebServer {
    /// Writes its configuration.
    pub(super) fn new(
        program: &Path,
        site: Site,
        config_text: &str,
        directory: &Path,
        state_directory: &Path,
    ) -> Result<Self, LabError> {
        let config = directory.join(format!("{}.conf", site.name));
        fs::write(&config, config_text).map_err(|source| LabError::Write {
            path: config.clone(),
            source,
        })?;
        Ok(Self {
            site,
            program: program.to_owned(),
            config,
            directory: directory.to_owned(),
            state_directory: state_directory.to_owned(),
            process: Mutex::new(None),
        })
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.site.name == name
    }

    pub(crate) fn start(&self) -> Result<(), LabError> {
        let mut slot = lock(&self.process);
        let process = ProcessBuilder::new(
            self.site.name,
            &self.site.namespace,
            &self.program,
            &self.state_directory,
            Some(resolv_conf_path(&self.site.namespace)),
        )
        .arg("-p")
        .arg(&self.directory)
        .arg("-c")
        .arg(&self.config)
        .spawn()?;
        let log = process.stderr_path().to_owned();
        *slot = Some(process);
        for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
            if answers(&self.site) {
                return Ok(());
            }
            thread::sleep(STEP);
        }
        Err(LabError::ServerSilent {
            name: self.site.name.to_owned(),
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

/// Whether a web server says anything: to plain HTTP on its TLS port, it says that this is wrong. All ports are bound before the
/// first connection is taken.
fn answers(site: &Site) -> bool {
    let connected = namespace::connect_in(&site.namespace, site.address, REQUEST_TIMEOUT);
    let Ok(mut stream) = connected else {
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
