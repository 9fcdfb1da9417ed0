//! The DNS servers as processes: started, killed, and told what they do not know any more.
//!
//! What a server answers is in its files. A change is a new set of files: a reload where only records went, which keeps the socket and
//! everything that waits in it, and a restart where the server is to be a different one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::{DnsCommand, DnsRole, configure, unconfined};
use crate::addressing as at;
use crate::lab::{LabError, lock, resolv_conf_path};
use crate::lookup::{self, Lookup, Transport};
use crate::process::{Process, ProcessBuilder, ProcessError};
use crate::tools::DnsServer;
use crate::wiring::Plan;

/// A freshly started or reloaded server answers as it should within this.
const PATIENCE: Duration = Duration::from_secs(10);
const QUESTION_TIMEOUT: Duration = Duration::from_millis(100);
const NO_ERROR: u8 = 0;

/// The servers behind the cluster's virtual IP, and the internet's.
#[derive(Debug)]
pub(crate) struct DnsServers {
    program: DnsServer,
    /// Where their files are.
    directory: PathBuf,
    /// Where their logs go.
    state_directory: PathBuf,
    slots: BTreeMap<String, Slot>,
}

#[derive(Debug)]
struct Slot {
    role: DnsRole,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    process: Option<Process>,
    wrongs: Wrongs,
}

/// What is wrong with what a server answers.
#[derive(Debug, Default)]
pub(crate) struct Wrongs {
    /// Names that it does not know any more.
    pub(super) absent: BTreeSet<String>,
    /// It fails on every question.
    pub(super) fails: bool,
    /// How often its files were written: the zone's serial number.
    pub(super) serial: u32,
}

impl DnsServers {
    /// Gets the files' directory ready; nothing runs yet.
    pub(crate) fn new(
        program: &DnsServer,
        plan: &Plan,
        directory: PathBuf,
        state_directory: &Path,
    ) -> Result<Self, LabError> {
        let prepare = || {
            fs::create_dir_all(&directory)?;
            unconfined(program, &directory)
        };
        let program = prepare().map_err(|source| LabError::Write {
            path: directory.clone(),
            source,
        })?;
        let roles = plan
            .dns
            .iter()
            .map(DnsRole::cluster)
            .chain([DnsRole::internet(plan.families)]);
        let slots = roles.map(|role| {
            let state = Mutex::default();
            (role.name.clone(), Slot { role, state })
        });
        Ok(Self {
            program,
            directory,
            state_directory: state_directory.to_owned(),
            slots: slots.collect(),
        })
    }

    /// Every server's name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.keys().map(String::as_str)
    }

    /// The names that exist in the cluster's zone when all is well.
    pub(crate) fn cluster_names(&self) -> Vec<&'static str> {
        let cluster = self.slots.values().find(|slot| slot.role.is_cluster());
        let mut names: Vec<&str> = cluster
            .map(|slot| slot.role.names.iter().map(|(name, _)| *name).collect())
            .unwrap_or_default();
        // A name of two families is one name.
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        names
    }

    /// Starts a server and waits until it answers.
    pub(crate) fn start(&self, name: &str) -> Result<(), LabError> {
        match self.slots.get(name) {
            Some(slot) => self.start_slot(slot, &mut lock(&slot.state)),
            None => Ok(()),
        }
    }

    /// Kills a server as `kill -9` does.
    pub(crate) fn stop(&self, name: &str) -> Result<(), ProcessError> {
        match self.slots.get(name) {
            Some(slot) => lock(&slot.state).stop(),
            None => Ok(()),
        }
    }

    /// Takes a name out of the cluster's zone on all servers, or puts it back.
    pub(crate) fn set_absent(&self, name: &str, is_absent: bool) -> Result<(), LabError> {
        for slot in self.slots.values().filter(|slot| slot.role.is_cluster()) {
            let mut state = lock(&slot.state);
            if is_absent {
                state.wrongs.absent.insert(name.to_owned());
            } else {
                state.wrongs.absent.remove(name);
            }
            self.configure(slot, &mut state)?;
            // One that is down reads its files when it comes back.
            if let Some(process) = &mut state.process {
                if matches!(self.program, DnsServer::Unbound(_)) {
                    process.hang_up()?;
                }
                let log = process.stderr_path().to_owned();
                wait_for(slot, name, &log, |answer| {
                    (answer.rcode == NO_ERROR) != is_absent
                })?;
            }
        }
        Ok(())
    }

    /// Makes the internet's server fail on every question, or answer again.
    pub(crate) fn set_upstream_failing(&self, fails: bool) -> Result<(), LabError> {
        for slot in self.slots.values().filter(|slot| !slot.role.is_cluster()) {
            let mut state = lock(&slot.state);
            state.wrongs.fails = fails;
            state.stop()?;
            self.start_slot(slot, &mut state)?;
        }
        Ok(())
    }

    /// Ends all servers.
    pub(crate) fn end(&self) {
        for slot in self.slots.values() {
            drop(lock(&slot.state).process.take());
        }
    }

    fn configure(&self, slot: &Slot, state: &mut State) -> Result<DnsCommand, LabError> {
        state.wrongs.serial += 1;
        configure(&self.program, &slot.role, &state.wrongs, &self.directory).map_err(|source| {
            LabError::Write {
                path: self.directory.clone(),
                source,
            }
        })
    }

    fn start_slot(&self, slot: &Slot, state: &mut State) -> Result<(), LabError> {
        let command = self.configure(slot, state)?;
        let role = &slot.role;
        let process = ProcessBuilder::new(
            &role.name,
            &role.namespace,
            &command.program,
            &self.state_directory,
            Some(resolv_conf_path(&role.namespace)),
        )
        .args(&command.arguments)
        .spawn()?;
        let log = process.stderr_path().to_owned();
        state.process = Some(process);
        wait_for(slot, "ready.cluster.local", &log, |_| true)
    }
}

impl State {
    fn stop(&mut self) -> Result<(), ProcessError> {
        match self.process.take() {
            Some(mut process) => process.kill().map(drop),
            None => Ok(()),
        }
    }
}

/// Asks a server until its answer is as it should be.
fn wait_for(
    slot: &Slot,
    name: &str,
    log: &Path,
    is_right: impl Fn(&Lookup) -> bool,
) -> Result<(), LabError> {
    let server = SocketAddr::from((slot.role.address, at::DNS_PORT));
    let attempts = PATIENCE.as_millis() / QUESTION_TIMEOUT.as_millis();
    for _ in 0..attempts {
        let asked = lookup::lookup_in(
            &slot.role.namespace,
            server,
            name,
            Transport::Udp,
            QUESTION_TIMEOUT,
        );
        if asked.is_ok_and(|answer| is_right(&answer)) {
            return Ok(());
        }
        // A port that nobody listens on refuses at once.
        thread::sleep(QUESTION_TIMEOUT / 10);
    }
    Err(LabError::DnsSilent {
        name: slot.role.name.clone(),
        log: log.to_owned(),
    })
}
