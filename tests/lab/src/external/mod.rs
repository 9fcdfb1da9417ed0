//! What the cluster reaches beyond its router: web servers with certificates of the lab's own authority, and a forward proxy.
//!
//! Each target is a real web server with an address of its own, so that one can be down alone. It serves everything that can be wrong
//! with it at the same time, on other ports: an expired certificate, a handshake that fails, a status. A fault only leads the
//! target's own ports there, which needs no restart and is over at once.
//!
//! The cluster's API server is one more such server, on a host behind its virtual IP.

mod certificates;
pub(crate) mod nginx;
mod server;
mod tinyproxy;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::addressing as at;
use crate::lab::{LabError, lock};
use crate::process::{Process, ProcessError};
use crate::spec::Families;
use crate::tools::Tools;
use crate::wiring::Plan;

use certificates::Subject;
use server::{Site, WebServer};

pub(crate) const HTTP_PORT: u16 = 80;
pub(crate) const HTTPS_PORT: u16 = 443;

/// The API server's process and files.
const API_SERVER: &str = "kube-apiserver";

/// The HTTP statuses that a target can be made to answer with.
pub const STATUSES: [u16; 9] = [400, 401, 403, 404, 429, 500, 502, 503, 504];

/// An external target: a web server on the internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabTarget {
    /// The name in the internet's DNS and in the certificate; faults name it too.
    pub name: &'static str,
    /// Where it is.
    pub address: Ipv4Addr,
    /// Where it is too, in a cluster of two families.
    pub address_v6: Option<Ipv6Addr>,
    /// Other names that lead there, also in the certificate.
    pub aliases: &'static [&'static str],
}

impl LabTarget {
    /// Answers `/` with 200 and a text, `/healthz` with `ok`, `/moved` with a redirect to `/`, and anything else with 404.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::from((self.address, HTTP_PORT))
    }

    /// The same with TLS.
    pub fn https(&self) -> SocketAddr {
        SocketAddr::from((self.address, HTTPS_PORT))
    }

    fn subject(&self) -> Subject {
        let addresses = self.addresses().map(|address| address.to_string());
        let aliases = self.aliases.iter().map(|name| (*name).to_owned());
        Subject {
            name: self.name,
            others: aliases.chain(addresses).collect(),
        }
    }

    /// Every address of it.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let second = self.address_v6.map(IpAddr::V6);
        [IpAddr::V4(self.address)].into_iter().chain(second)
    }
}

/// The names by which a pod knows the API server.
fn api_server_subject() -> Subject {
    Subject {
        name: at::KUBERNETES_NAME,
        others: vec![
            "kubernetes".to_owned(),
            "kubernetes.default".to_owned(),
            "kubernetes.default.svc".to_owned(),
            at::KUBERNETES_VIP.to_string(),
        ],
    }
}

/// All of them. Their names are in [`at::EXTERNAL_NAMES`]. The registry has no second address, as is common.
fn targets(families: Families) -> [LabTarget; 2] {
    [
        LabTarget {
            name: "www.example.com",
            address: at::WWW_IP,
            address_v6: families.has_v6().then_some(at::WWW_IP_V6),
            aliases: &["www.example.org"],
        },
        LabTarget {
            name: "registry.example.net",
            address: at::REGISTRY_IP,
            address_v6: None,
            aliases: &[],
        },
    ]
}

/// The internet's servers.
#[derive(Debug)]
pub(crate) struct External {
    targets: [LabTarget; 2],
    servers: Vec<WebServer>,
    authority: PathBuf,
    directory: PathBuf,
    state_directory: PathBuf,
    proxy_program: Option<PathBuf>,
    proxy: Mutex<Option<Process>>,
}

impl External {
    /// Makes certificates and configurations in `directory`, and the authority's own in the state directory.
    pub(crate) fn new(
        tools: &Tools,
        plan: &Plan,
        directory: &Path,
        state_directory: &Path,
    ) -> Result<Self, LabError> {
        let authority = state_directory.join("ca.pem");
        let targets = targets(plan.families);
        let subjects: Vec<Subject> = targets
            .iter()
            .map(LabTarget::subject)
            .chain([api_server_subject()])
            .collect();
        let issued = certificates::issue(&subjects, directory, &authority)?;
        let mut sites: Vec<(Site, String)> = targets
            .iter()
            .zip(&issued)
            .map(|(target, files)| {
                let site = Site {
                    name: target.name,
                    namespace: at::INTERNET.to_owned(),
                    address: target.http(),
                };
                (site, nginx::config(target, files, directory))
            })
            .collect();
        let host = plan.aggregator.node_port.ip();
        let address = SocketAddr::new(host, at::API_SERVER_PORT);
        sites.extend(issued.last().map(|files| {
            let site = Site {
                name: API_SERVER,
                namespace: plan.aggregator.node.clone(),
                address,
            };
            let config = nginx::api_server(API_SERVER, address, files, directory);
            (site, config)
        }));
        let servers = sites
            .into_iter()
            .map(|(site, config)| {
                WebServer::new(&tools.nginx, site, &config, directory, state_directory)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            targets,
            servers,
            authority,
            directory: directory.to_owned(),
            state_directory: state_directory.to_owned(),
            proxy_program: tools.tinyproxy.clone(),
            proxy: Mutex::new(None),
        })
    }

    pub(crate) fn targets(&self) -> &[LabTarget] {
        &self.targets
    }

    pub(crate) fn authority(&self) -> &Path {
        &self.authority
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &WebServer> {
        self.servers.iter()
    }

    /// Starts a target's web server and waits until it answers.
    pub(crate) fn start(&self, name: &str) -> Result<(), LabError> {
        match self.server(name) {
            Some(server) => server.start(),
            None => Ok(()),
        }
    }

    /// Kills a target's web server as `kill -9` does.
    pub(crate) fn stop(&self, name: &str) -> Result<(), ProcessError> {
        match self.server(name) {
            Some(server) => server.stop(),
            None => Ok(()),
        }
    }

    fn server(&self, name: &str) -> Option<&WebServer> {
        self.servers.iter().find(|server| server.is(name))
    }

    /// Starts the proxy, unless it runs already, and waits until it listens.
    pub(crate) fn start_proxy(&self) -> Result<SocketAddr, LabError> {
        let address = SocketAddr::from((at::PROXY_IP, at::PROXY_PORT));
        let mut proxy = lock(&self.proxy);
        if let Some(process) = proxy.as_mut()
            && process.try_wait()?.is_none()
        {
            return Ok(address);
        }
        let program = self.proxy_program.as_deref().ok_or(LabError::NoProxy)?;
        *proxy = Some(tinyproxy::start(
            program,
            address,
            &self.directory,
            &self.state_directory,
        )?);
        Ok(address)
    }

    /// Kills the proxy, if it runs.
    pub(crate) fn stop_proxy(&self) -> Result<(), ProcessError> {
        match lock(&self.proxy).take() {
            Some(mut process) => process.kill().map(drop),
            None => Ok(()),
        }
    }

    /// Ends all servers.
    pub(crate) fn end(&self) {
        drop(lock(&self.proxy).take());
        for server in &self.servers {
            server.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_target_leads_to_it_and_to_nothing_else() {
        for target in targets(Families::Dual) {
            for name in [target.name].iter().chain(target.aliases) {
                let v4 = at::EXTERNAL_NAMES.iter().filter(|(known, _)| known == name);
                let v6 = at::EXTERNAL_NAMES_V6
                    .iter()
                    .filter(|(known, _)| known == name);
                let found: Vec<IpAddr> = v4
                    .map(|(_, address)| IpAddr::V4(*address))
                    .chain(v6.map(|(_, address)| IpAddr::V6(*address)))
                    .collect();
                assert_eq!(found, target.addresses().collect::<Vec<_>>(), "{name}");
            }
        }
    }
}
