//! Whether every report arrived: what the probers sent against what the aggregator has on disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use meshprobe_aggregator::membership::{NodeAddress, NodeRecord};
use meshprobe_daemon::clock;
use meshprobe_lab::mesh::Mesh;
use meshprobe_proto::v1;
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;

use super::stage::Failed;
use crate::metrics_page::MetricsPage;

/// What was sent is stored within this.
const PATIENCE: Duration = Duration::from_secs(60);
/// The aggregator writes often, and shortly.
const BUSY: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);
/// What a prober sent is asked of the one in the pods; a second one on the node's own network has its own numbers.
const POD: &str = "pod";

/// How far the reports of one prober's start were taken, as the aggregator stores it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Progress {
    pub(super) node: String,
    pub(super) plane: String,
    pub(super) incarnation: u64,
    /// Every report up to this number was taken, or refused for good.
    pub(super) through: u64,
    /// How many were taken.
    pub(super) taken: u64,
}

/// Reads it from the aggregator's store, which may be in use.
pub(super) fn stored_progress(store: &Path) -> anyhow::Result<Vec<Progress>> {
    let read = || -> anyhow::Result<Vec<Progress>> {
        let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY)?;
        let mut statement = connection.prepare("SELECT body FROM progress ORDER BY node, plane")?;
        let bodies = statement.query_map([], |row| row.get::<_, String>(0))?;
        bodies
            .map(|body| Ok(serde_json::from_str(&body?)?))
            .collect()
    };
    read().with_context(|| format!("read the progress in {}", store.display()))
}

/// The addresses that a node's prober announced.
pub(super) fn stored_addresses(store: &Path, node: &str) -> anyhow::Result<Vec<v1::Address>> {
    let read = || -> anyhow::Result<Vec<v1::Address>> {
        let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY)?;
        let sql = "SELECT body FROM nodes WHERE name = ?1";
        let body: String = connection.query_row(sql, [node], |row| row.get(0))?;
        let record: NodeRecord = serde_json::from_str(&body)?;
        let addresses = record.probers.iter().flat_map(|prober| &prober.addresses);
        let wire = |address: &NodeAddress| v1::Address {
            plane: v1::Plane::from(address.plane).into(),
            ip: address.ip.to_string(),
            udp_port: address.udp_port.into(),
            tcp_port: address.tcp_port.into(),
            quic_port: address.quic_port.into(),
        };
        Ok(addresses.map(wire).collect())
    };
    read().with_context(|| format!("read the addresses of {node} in {}", store.display()))
}

/// One prober's account.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    node: String,
    /// Reports that the prober sent, each counted once: they are numbered from 1 without gaps.
    sent: u64,
    stored: Option<(u64, u64)>,
}

impl Account {
    /// Everything that was sent before the look is stored, and everything that is stored was taken once.
    fn is_even(&self) -> bool {
        self.stored
            .is_some_and(|(through, taken)| through >= self.sent && taken == through)
    }

    fn words(&self) -> String {
        let Self { node, sent, stored } = self;
        match stored {
            None => format!("{node}: {sent} reports sent, nothing is stored"),
            Some((through, taken)) => {
                format!("{node}: {sent} reports sent, stored up to {through}, {taken} taken")
            }
        }
    }
}

/// Waits until every report that was sent so far is stored; fails if one is missing or was taken twice.
pub(super) fn none_lost(mesh: &Mesh, store: &Path, tell: impl Fn(&str)) -> anyhow::Result<()> {
    let sent = sent_by_node(mesh)?;
    let deadline = clock::now() + PATIENCE;
    loop {
        let stored = stored_progress(store)?;
        let accounts: Vec<Account> = sent
            .iter()
            .map(|(node, sent)| Account {
                node: node.clone(),
                sent: *sent,
                stored: newest(&stored, node).map(|progress| (progress.through, progress.taken)),
            })
            .collect();
        if accounts.iter().all(Account::is_even) {
            let total: u64 = accounts.iter().map(|account| account.sent).sum();
            tell(&format!(
                "no report was lost: {total} were sent, all are stored, each was taken once"
            ));
            return Ok(());
        }
        if clock::now() >= deadline {
            let odd = accounts.iter().filter(|account| !account.is_even());
            return Err(Failed(odd.map(Account::words).collect()).into());
        }
        thread::sleep(LOOK);
    }
}

fn newest<'a>(stored: &'a [Progress], node: &str) -> Option<&'a Progress> {
    let is_own = |progress: &&Progress| progress.node == node && progress.plane == POD;
    let own = stored.iter().filter(is_own);
    own.max_by_key(|progress| progress.incarnation)
}

fn sent_by_node(mesh: &Mesh) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut sent = BTreeMap::new();
    for node in mesh.lab().nodes() {
        let page = MetricsPage::parse(&mesh.prober_admin(&node.name, "/metrics")?);
        let count = |name: &str| {
            page.sum(name, &[])
                .with_context(|| format!("the prober of {} has no metric {name}", node.name))
        };
        let all = count("meshprobe_prober_reports_sent_total")?;
        let repeated = count("meshprobe_prober_reports_repeated_total")?;
        sent.insert(node.name.clone(), (all - repeated) as u64);
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(sent: u64, stored: Option<(u64, u64)>) -> Account {
        Account {
            node: "mesh-3".to_owned(),
            sent,
            stored,
        }
    }

    #[test]
    fn a_missing_report_and_one_taken_twice_are_told_apart_from_none() {
        assert!(account(7, Some((7, 7))).is_even());
        assert!(
            account(7, Some((8, 8))).is_even(),
            "one was sent after the look"
        );
        assert!(
            !account(7, Some((6, 6))).is_even(),
            "the last one is missing"
        );
        assert!(
            !account(7, Some((7, 6))).is_even(),
            "one in the middle is missing"
        );
        assert!(!account(7, Some((7, 8))).is_even(), "one was taken twice");
        assert!(!account(7, None).is_even());
    }
}
