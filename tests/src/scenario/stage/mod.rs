//! Playing a scenario: the cluster, the mesh, one step after the other, and the judgement at the end.

//!
//! One thread plays; what it knows of the incidents comes from the observer's thread and from the webhooks. A step that finds
//! the product at fault ends the play with [`Failed`]; any other error is one of the runner or of the machine.

mod acts;
mod claims;
mod waits;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use meshprobe_daemon::clock;
use meshprobe_lab::mesh::{Mesh, MeshOptions};
use meshprobe_lab::{Injected, Inside, Lab, LabSpec};
use serde_json::json;

use super::agreement::{self, Notice};
use super::cast::Cast;
use super::claim::ground::Ground;
use super::expected::{Expected, What};
use super::file::{AllowedLine, LogSource, Scenario};
use super::observer::{Observer, Story};
use super::outcome::Outcome;
use super::small_disk::SmallDisk;
use super::step::{ScaleUp, Step, Tell};
use super::{attack, log_lines};

/// A mesh starts, warms up and fills its windows.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// A notification whose receiver could not be reached for a while is tried again after up to two minutes.
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(150);

/// The aggregator's store in its folder.
const STORE: &str = "aggregator.db";

/// What the command line says about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Casting {
    pub nodes: u8,
    pub zones: u8,
    pub seed: u64,
    /// In the place of the scenario's own.
    pub duration: Option<Duration>,
    /// Keep the logs also of a run that passed.
    pub keep: bool,
}

/// The product did not do what the scenario expects.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(super) struct Failed(pub(super) Vec<String>);

impl Failed {
    pub(super) fn one(why: impl Into<String>) -> Self {
        Self(vec![why.into()])
    }
}

/// Runs a scenario in a cluster of its own.
pub fn run(inside: &Inside, scenario: &Scenario, casting: &Casting) -> anyhow::Result<Outcome> {
    let mut stage = Stage::build(inside, scenario, casting)?;
    let mut failures = failures_of(stage.play())?;
    if failures.is_empty() {
        failures = failures_of(stage.judge())?;
    }
    if !failures.is_empty() {
        println!("\n{}", stage.mesh.logs());
    }
    if !failures.is_empty() || casting.keep {
        inside.keep_state_directory().context("keep the logs")?;
        println!("Logs: {}", inside.state_directory().display());
    }
    for failure in &failures {
        println!("FAILED  {failure}");
    }
    Ok(stage.outcome(failures))
}

fn failures_of(result: anyhow::Result<()>) -> anyhow::Result<Vec<String>> {
    match result {
        Ok(()) => Ok(Vec::new()),
        Err(error) => error.downcast::<Failed>().map(|Failed(why)| why),
    }
}

struct Stage<'a> {
    scenario: &'a Scenario,
    casting: &'a Casting,
    cast: Cast,
    ground: Ground,
    story: Story,
    // What is broken is healed before the mesh ends, and the mesh before the cluster.
    broken: Vec<(String, Injected)>,
    /// Nodes that left when the cluster shrank, with their dead links.
    departed: Vec<(String, Injected)>,
    observer: Observer,
    mesh: Mesh,
    lab: Lab,
    disk: Option<SmallDisk>,
    /// Where the start of the mesh ends in the logs.
    started: log_lines::Marks,
    is_aggregator_up: bool,
    /// When every path was healthy for the first time.
    healthy_at: Instant,
    broken_at: Option<Instant>,
    healed_at: Option<Instant>,
    /// All incidents that had to open so far.
    expected: Vec<Expected>,
    /// Those of them that are open.
    open: Vec<Expected>,
    seconds_to_find: Option<f64>,
    /// It is the time of an incident, and not one of a measurement.
    has_found: bool,
    seconds_to_clear: Option<f64>,
}

impl<'a> Stage<'a> {
    fn build(
        inside: &'a Inside,
        scenario: &'a Scenario,
        casting: &'a Casting,
    ) -> anyhow::Result<Self> {
        let story = Story::begin();
        let spec = LabSpec {
            nodes: casting.nodes,
            zones: casting.zones,
            dns_instances: scenario.cluster.dns_instances.min(casting.nodes),
            families: scenario.cluster.families,
            host_probers: scenario.cluster.host_probers,
            ..LabSpec::default()
        };
        let lab = Lab::build(inside, &spec).context("build the virtual cluster")?;
        let nodes: Vec<String> = lab.nodes().iter().map(|node| node.name.clone()).collect();
        let taken: Vec<String> = lab
            .dns_instances()
            .iter()
            .filter(|dns| scenario.apart_from.contains(&dns.name))
            .map(|dns| dns.node.clone())
            .collect();
        let cast = Cast::assign_apart(&scenario.roles, &nodes, &taken, casting.seed)?;
        let played: Vec<String> = cast
            .iter()
            .map(|(role, node)| format!("{role} is {node}"))
            .collect();
        story.tell(&format!(
            "{}: {}. {} nodes in {} zones; {}",
            scenario.name,
            scenario.title,
            casting.nodes,
            casting.zones,
            played.join(", ")
        ));
        let mut aggregator = world::settings(&lab, scenario.targets);
        world::lay_over(&mut aggregator, &scenario.aggregator);
        let disk = match scenario.store_kib {
            None => None,
            Some(kib) => {
                let disk = SmallDisk::mount(inside, &lab.state_directory().join("store"), kib)?;
                aggregator["store"]["path"] = json!(disk.directory().join(STORE));
                Some(disk)
            }
        };
        let options = MeshOptions {
            aggregator,
            prober: scenario.prober.clone(),
            ..MeshOptions::default()
        };
        let mesh = Mesh::start(&lab, options).context("start the daemons")?;
        Ok(Self {
            scenario,
            casting,
            cast,
            ground: Ground::of(&lab),
            story,
            broken: Vec::new(),
            departed: Vec::new(),
            observer: Observer::start(&mesh, story)?,
            mesh,
            lab,
            disk,
            started: log_lines::Marks::default(),
            is_aggregator_up: true,
            healthy_at: clock::now(),
            broken_at: None,
            healed_at: None,
            expected: Vec::new(),
            open: Vec::new(),
            seconds_to_find: None,
            has_found: false,
            seconds_to_clear: None,
        })
    }

    fn play(&mut self) -> anyhow::Result<()> {
        self.wait_until_healthy(START_PATIENCE)?;
        self.healthy_at = clock::now();
        self.story.tell("every path is healthy");
        self.started =
            log_lines::Marks::now(self.lab.state_directory()).context("read the daemons' logs")?;
        self.no_surprise()?;
        let scenario = self.scenario;
        for step in &scenario.steps {
            self.take(&step.value)?;
        }
        Ok(())
    }

    fn take(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Break(text) => self.break_(text),
            Step::Heal(text) => self.heal(text),
            Step::Kill(daemon) => self.kill(daemon),
            Step::Stop(daemon) => self.stop(daemon),
            Step::Start(daemon) => self.start(daemon),
            Step::Pause(prober) => self.pause(prober),
            Step::Resume(prober) => self.resume(prober),
            Step::RollProbers(roll) => self.roll_probers(*roll),
            Step::ScaleDown(scale) => self.scale_down(*scale),
            Step::ScaleUp(ScaleUp::All) => self.scale_up(),
            Step::Find(find) => self.find(find),
            Step::Notifications(limit) => self.notifications(limit),
            Step::Tell(Tell::Matrix) => self.tell_matrix(),
            Step::Clear(limit) => self.clear(limit.within.duration()),
            Step::Quiet(quiet) => self.quiet(*quiet),
            Step::Judging(limit) => self.judging(limit.within.duration()),
            Step::Check(check) => self.check(*check),
            Step::Attack(attack) => {
                self.story.tell(&format!("attack: {attack:?}"));
                attack::run(*attack, &self.mesh, |line| self.story.tell(line))
            }
            Step::Disk(disk) => self.set_disk(*disk),
            Step::Matrix(claim) => self.claim_matrix(claim),
            Step::Path(claim) => self.claim_path(claim),
            Step::Share(claim) => self.claim_share(claim),
            Step::Node(claim) => self.claim_node(claim),
        }
    }

    fn store(&self) -> PathBuf {
        let folder = self
            .disk
            .as_ref()
            .map_or_else(|| self.lab.state_directory(), SmallDisk::directory);
        folder.join(STORE)
    }

    fn notices(&self) -> anyhow::Result<Vec<Notice>> {
        let webhooks = self.mesh.webhooks();
        let notices: Result<Vec<Notice>, String> = webhooks.iter().map(Notice::read).collect();
        Ok(notices.map_err(Failed::one)?)
    }

    /// What has to hold at the end of every scenario.
    fn judge(&self) -> anyhow::Result<()> {
        self.no_surprise()?;
        let deadline = clock::now() + WEBHOOK_PATIENCE;
        let coming_and_going: Vec<&What> = self
            .expected
            .iter()
            .filter(|expected| expected.may_reopen)
            .map(|expected| &expected.what)
            .collect();
        let mut failures = loop {
            let journal = self.observer.journal();
            let wrong = agreement::disagreements(&journal, &self.notices()?, &coming_and_going);
            if wrong.is_empty() || clock::now() >= deadline {
                break wrong;
            }
            self.breathe()?;
        };
        self.no_surprise()?;
        let still_broken = self
            .broken
            .iter()
            .chain(&self.departed)
            .map(|(name, _)| format!("`{name}` was never healed"));
        failures.extend(still_broken);
        let mut allowed = self.scenario.allowed_log.clone();
        allowed.extend(self.expected.iter().map(explained_by));
        let unexplained =
            log_lines::unexplained(self.lab.state_directory(), &allowed, &self.started)
                .context("read the daemons' logs")?;
        failures.extend(
            unexplained
                .iter()
                .flat_map(log_lines::Unexplained::sentences),
        );
        if failures.is_empty() {
            self.story
                .tell("API and webhooks agree, and the logs have nothing else to say");
            return Ok(());
        }
        Err(Failed(failures).into())
    }

    fn outcome(self, failures: Vec<String>) -> Outcome {
        let journal = self.observer.journal();
        let whats =
            |all: &[Expected]| -> Vec<What> { all.iter().map(|one| one.what.clone()).collect() };
        Outcome {
            scenario: self.scenario.name.clone(),
            passed: failures.is_empty(),
            expected: whats(&self.expected),
            found: journal
                .openings()
                .into_iter()
                .map(|found| found.what)
                .collect(),
            seconds_to_find: self.seconds_to_find,
            seconds_to_clear: self.seconds_to_clear,
            nodes: self.casting.nodes,
            zones: self.casting.zones,
            seed: self.casting.seed,
            failures,
        }
    }
}

/// The aggregator says in its log what it announces.
fn explained_by(expected: &Expected) -> AllowedLine {
    AllowedLine {
        from: LogSource::Aggregator,
        contains: format!(" pattern={} ", expected.what.pattern),
        because: "the incident is expected".to_owned(),
    }
}
