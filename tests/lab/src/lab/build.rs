//! Building, in four steps: namespaces, cables, each namespace's own links and rules, DNS and web servers.
//!
//! The order inside a step does not matter, so its jobs run in parallel. A failure removes what is there.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::thread;

use super::sysctl::{self, Kind};
use super::{LabError, Shared, resolv_conf_path};
use crate::addressing as at;
use crate::batch;
use crate::dns::{self, DnsServers};
use crate::enter::{Inside, PRIVATE_DIRECTORY};
use crate::external::External;
use crate::fault::hold::Holds;
use crate::fault::routes::Routes;
use crate::namespace::NAMESPACE_DIRECTORY;
use crate::spec::LabSpec;
use crate::tools::Tools;
use crate::wiring::{Plan, fabric, node, pod, translation};

/// The kernel serialises most of this; more workers than that only wait for each other.
const WORKERS: usize = 4;

type Job<'work> = Box<dyn FnOnce() -> Result<(), LabError> + Send + 'work>;

pub(super) fn build(inside: &Inside, spec: &LabSpec) -> Result<Shared, LabError> {
    spec.check()?;
    let tools = Tools::find()?;
    let plan = Plan::new(spec);
    if Path::new(NAMESPACE_DIRECTORY).join(at::FABRIC).exists() {
        return Err(LabError::AlreadyBuilt);
    }
    write_resolv_confs(&plan)?;
    let dns = DnsServers::new(
        &tools.dns,
        &plan,
        Path::new(PRIVATE_DIRECTORY).join("dns"),
        inside.state_directory(),
    )?;
    let external = External::new(
        &tools,
        &plan,
        &Path::new(PRIVATE_DIRECTORY).join("external"),
        inside.state_directory(),
    )?;
    // From here on, dropping `shared` removes the namespaces.
    let shared = Shared {
        plan,
        tools,
        state_directory: inside.state_directory().to_owned(),
        dns,
        external,
        holds: Mutex::new(Holds::default()),
        routes: Mutex::new(Routes::default()),
        prober_hook: Mutex::new(None),
        fault_serial: AtomicU32::new(0),
    };
    let ip = &shared.tools.ip;
    batch::ip(
        ip,
        None,
        &format!("link set lo up\n{}", shared.plan.namespace_script("add")),
    )?;
    in_parallel(sysctl_jobs(&shared))?;
    batch::ip(ip, None, &shared.plan.cable_script())?;
    in_parallel(link_jobs(&shared))?;
    in_parallel(
        shared
            .dns
            .names()
            .map(|name| -> Job<'_> { Box::new(|| shared.dns.start(name)) })
            .chain(
                shared
                    .external
                    .servers()
                    .map(|server| -> Job<'_> { Box::new(|| server.start()) }),
            )
            .collect(),
    )?;
    tracing::debug!(nodes = shared.plan.nodes.len(), "Built the virtual cluster");
    Ok(shared)
}

fn sysctl_jobs(shared: &Shared) -> Vec<Job<'_>> {
    let plan = &shared.plan;
    let routers = plan
        .nodes
        .iter()
        .map(|node| node.namespace.clone())
        .chain([at::FABRIC.to_owned()]);
    let hosts = plan
        .pods()
        .into_iter()
        .map(|pod| pod.namespace)
        .chain([at::INTERNET.to_owned()]);
    routers
        .map(|name| (name, Kind::Router))
        .chain(hosts.map(|name| (name, Kind::Host)))
        .map(|(name, kind)| -> Job<'_> {
            Box::new(move || sysctl::set(&name, kind, plan.families))
        })
        .collect()
}

fn link_jobs(shared: &Shared) -> Vec<Job<'_>> {
    let Shared { plan, tools, .. } = shared;
    let mut jobs: Vec<Job<'_>> = vec![
        Box::new(|| {
            batch::ip(&tools.ip, Some(at::FABRIC), &fabric::links(plan))?;
            Ok(shared.nft_in(at::FABRIC, &fabric::translation(plan))?)
        }),
        Box::new(|| {
            Ok(batch::ip(
                &tools.ip,
                Some(at::INTERNET),
                &fabric::internet_links(plan),
            )?)
        }),
    ];
    for node in &plan.nodes {
        jobs.push(Box::new(move || {
            batch::ip(&tools.ip, Some(&node.namespace), &node::links(plan, node))?;
            batch::bridge(
                &tools.bridge,
                &node.namespace,
                &node::forwarding(plan, node),
            )?;
            Ok(shared.nft_in(&node.namespace, &translation::tables(plan, node))?)
        }));
    }
    for pod in plan.pods() {
        jobs.push(Box::new(move || {
            Ok(batch::ip(
                &tools.ip,
                Some(&pod.namespace),
                &pod::links(&pod),
            )?)
        }));
    }
    jobs
}

/// Runs all jobs, and returns the first failure.
fn in_parallel(jobs: Vec<Job<'_>>) -> Result<(), LabError> {
    let queue = Mutex::new(jobs.into_iter());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let next = super::lock(&queue).next();
                        match next {
                            Some(job) => job()?,
                            None => return Ok(()),
                        }
                    }
                })
            })
            .collect();
        let mut result = Ok(());
        for worker in workers {
            let ended = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(ended);
        }
        result
    })
}

/// One for each namespace: a pod's, or a node's.
fn write_resolv_confs(plan: &Plan) -> Result<(), LabError> {
    let write = |path: &Path, content: &str| {
        fs::write(path, content).map_err(|source| LabError::Write {
            path: path.to_owned(),
            source,
        })
    };
    let directory = Path::new(PRIVATE_DIRECTORY).join("resolv");
    fs::create_dir_all(&directory).map_err(|source| LabError::Write {
        path: directory.clone(),
        source,
    })?;
    for namespace in plan.namespaces() {
        write(&resolv_conf_path(&namespace), &dns::node_resolv_conf())?;
    }
    // A DNS server's own pod asks upstream, as `dnsPolicy: Default` makes it.
    let cluster_pods = plan
        .nodes
        .iter()
        .map(|node| &node.pod_namespace)
        .chain([&plan.aggregator.namespace]);
    for namespace in cluster_pods {
        write(&resolv_conf_path(namespace), &dns::pod_resolv_conf())?;
    }
    Ok(())
}
