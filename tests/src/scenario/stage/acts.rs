//! What a scenario does to the cluster and to the processes.

use anyhow::Context as _;
use meshprobe_daemon::clock;
use meshprobe_lab::mesh::MeshError;
use meshprobe_lab::{Fault, Injected};

use super::{Failed, Stage};
use crate::scenario::cast;
use crate::scenario::step::{Daemon, Disk, EVERYTHING, OneProber, Roll, ScaleDown, fault};

impl Stage<'_> {
    pub(super) fn break_(&mut self, text: &str) -> anyhow::Result<()> {
        let fault = fault(text, &self.cast)?;
        let injected = fault.inject(&self.lab)?;
        self.broken_at = Some(clock::now());
        self.story.tell(&format!("broke: {fault}"));
        self.broken.push((fault.to_string(), injected));
        Ok(())
    }

    pub(super) fn heal(&mut self, text: &str) -> anyhow::Result<()> {
        let healing: Vec<(String, Injected)> = if text == EVERYTHING {
            self.broken.drain(..).collect()
        } else {
            let name = fault(text, &self.cast)?.to_string();
            let place = self.broken.iter().position(|(broken, _)| *broken == name);
            let place =
                place.with_context(|| format!("`{name}` is to be healed and is not broken"))?;
            vec![self.broken.remove(place)]
        };
        for (name, injected) in healing {
            injected.heal()?;
            self.story.tell(&format!("healed: {name}"));
        }
        self.healed_at = Some(clock::now());
        Ok(())
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self, daemon: &Daemon) -> anyhow::Result<()> {
        match self.named(daemon)? {
            None => self.mesh.kill_aggregator(),
            Some(node) => self.mesh.kill_prober(&node),
        }
        .map_err(blame)?;
        self.went_down("killed", daemon)
    }

    /// SIGTERM; it has to end by itself, and well.
    pub(super) fn stop(&mut self, daemon: &Daemon) -> anyhow::Result<()> {
        let status = match self.named(daemon)? {
            None => self.mesh.stop_aggregator(),
            Some(node) => self.mesh.stop_prober(&node),
        }
        .map_err(blame)?;
        if !status.success() {
            return Err(Failed::one(format!(
                "SIGTERM ended {} with {status}",
                self.words(daemon)?
            ))
            .into());
        }
        self.went_down("stopped", daemon)
    }

    pub(super) fn start(&mut self, daemon: &Daemon) -> anyhow::Result<()> {
        match self.named(daemon)? {
            None => self.mesh.start_aggregator()?,
            Some(node) => self.mesh.start_prober(&node)?,
        }
        self.healed_at = Some(clock::now());
        self.story.tell(&format!("started {}", self.words(daemon)?));
        if *daemon == Daemon::Aggregator {
            self.is_aggregator_up = true;
            self.wait_for_api()?;
        }
        Ok(())
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self, prober: &OneProber) -> anyhow::Result<()> {
        let node = self.cast.node(&prober.role)?;
        self.mesh.pause_prober(node)?;
        self.broken_at = Some(clock::now());
        self.story.tell(&format!("paused the prober of {node}"));
        Ok(())
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self, prober: &OneProber) -> anyhow::Result<()> {
        let node = self.cast.node(&prober.role)?;
        self.mesh.resume_prober(node)?;
        self.healed_at = Some(clock::now());
        self.story.tell(&format!("resumed the prober of {node}"));
        Ok(())
    }

    fn went_down(&mut self, how: &str, daemon: &Daemon) -> anyhow::Result<()> {
        self.broken_at = Some(clock::now());
        if *daemon == Daemon::Aggregator {
            self.is_aggregator_up = false;
        }
        self.story.tell(&format!("{how} {}", self.words(daemon)?));
        Ok(())
    }

    /// The node of a prober; `None` is the aggregator.
    fn named(&self, daemon: &Daemon) -> anyhow::Result<Option<String>> {
        Ok(match daemon {
            Daemon::Aggregator => None,
            Daemon::Prober { role } => Some(self.cast.node(role)?.to_owned()),
        })
    }

    fn words(&self, daemon: &Daemon) -> anyhow::Result<String> {
        let node = self.named(daemon)?;
        Ok(node.map_or("the aggregator".to_owned(), |node| {
            format!("the prober of {node}")
        }))
    }

    pub(super) fn roll_probers(&mut self, roll: Roll) -> anyhow::Result<()> {
        for node in self.lab.nodes().to_vec() {
            let status = self.mesh.stop_prober(&node.name).map_err(blame)?;
            if !status.success() {
                return Err(Failed::one(format!(
                    "SIGTERM ended the prober of {} with {status}",
                    node.name
                ))
                .into());
            }
            self.mesh.start_prober(&node.name)?;
            self.story
                .tell(&format!("restarted the prober of {}", node.name));
            self.watch_for(roll.pause.duration())?;
        }
        Ok(())
    }

    /// The nodes are drained, said goodbye to and switched off, as when a node group shrinks.
    pub(super) fn scale_down(&mut self, scale: ScaleDown) -> anyhow::Result<()> {
        let nodes: Vec<String> = self
            .lab
            .nodes()
            .iter()
            .map(|node| node.name.clone())
            .collect();
        let leaving = cast::draw(&nodes, scale.count(nodes.len()), self.casting.seed);
        for node in &leaving {
            let status = self.mesh.stop_prober(node).map_err(blame)?;
            if !status.success() {
                let why = format!("SIGTERM ended the prober of {node} with {status}");
                return Err(Failed::one(why).into());
            }
            let switched_off = Fault::NodeDark { node: node.clone() }.inject(&self.lab)?;
            self.departed.push((node.clone(), switched_off));
        }
        self.broken_at = Some(clock::now());
        self.story
            .tell(&format!("the cluster shrank by {}", leaving.join(", ")));
        Ok(())
    }

    /// Those that left come back.
    pub(super) fn scale_up(&mut self) -> anyhow::Result<()> {
        let coming: Vec<(String, Injected)> = self.departed.drain(..).collect();
        for (node, switched_off) in coming {
            switched_off.heal()?;
            self.mesh.start_prober(&node)?;
            self.story.tell(&format!("{node} is back"));
        }
        self.healed_at = Some(clock::now());
        Ok(())
    }

    pub(super) fn set_disk(&mut self, disk: Disk) -> anyhow::Result<()> {
        let small = self.disk.as_ref().context("`disk` needs `store_kib`")?;
        match disk {
            Disk::Full => {
                let octets = small.fill()?;
                self.broken_at = Some(clock::now());
                self.story
                    .tell(&format!("the disk is full, {octets} octets of ballast"));
            }
            Disk::Free => {
                small.free()?;
                self.healed_at = Some(clock::now());
                self.story.tell("the disk has room again");
            }
        }
        Ok(())
    }

    fn wait_for_api(&self) -> anyhow::Result<()> {
        let since = clock::now();
        while self.observer.silence().0 > clock::now().saturating_duration_since(since) {
            self.breathe()?;
        }
        Ok(())
    }
}

/// A daemon that does not do what it is told is the product's failure.
fn blame(error: MeshError) -> anyhow::Error {
    match error {
        MeshError::DidNotStop { .. } | MeshError::DoesNotRun { .. } => {
            Failed::one(error.to_string()).into()
        }
        other => other.into(),
    }
}
