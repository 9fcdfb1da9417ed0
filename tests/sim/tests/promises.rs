//! The promises, in small: what `cargo xtask sim` tries for hours is tried here for minutes.

use clap::Parser as _;
use meshprobe_sim::diagnosis::DiagnosisArguments;
use meshprobe_sim::experiment::{ClockStepArguments, CutsArguments, DarkArguments, Outcome as _};

fn dark(arguments: &str) -> bool {
    DarkArguments::parse_from(format!("dark --jobs 1 {arguments}").split(' '))
        .run()
        .passed()
}

fn cuts(arguments: &str) -> bool {
    CutsArguments::parse_from(format!("cuts {arguments}").split(' '))
        .run()
        .passed()
}

fn diagnosis(arguments: &str) -> bool {
    DiagnosisArguments::parse_from(format!("diagnosis {arguments}").split(' '))
        .run()
        .passed()
}

#[test]
fn random_faults_of_every_family_are_named_and_nothing_else_is() {
    assert!(diagnosis(
        "--nodes 6 --faults 195 --seed 3 --hours 1 --explain 4"
    ));
    assert!(diagnosis(
        "--nodes 12 --faults 78 --seed 33 --hours 0 --explain 4"
    ));
}

#[test]
fn nothing_is_declared_in_an_hour_without_loss() {
    assert!(dark("--nodes 3,12 --loss 0 --hours 1"));
}

#[test]
fn nothing_is_declared_under_light_and_under_heavy_loss() {
    assert!(dark("--nodes 3,6 --loss 1 --hours 0.1"));
    assert!(dark("--nodes 3,6 --loss 30 --hours 0.01"));
}

#[test]
fn quorums_under_heavy_loss_are_no_more_than_the_votes_allow() {
    let arguments = "dark --jobs 1 --nodes 3 --loss 30 --hours 0.5 --seed 4";
    let report = DarkArguments::parse_from(arguments.split(' ')).run();
    assert!(report.quorums() > 20, "{report:?}");
    assert!(report.is_bound_kept(), "{report:?}");
}

#[test]
fn every_cut_is_found_and_nothing_else_is_told() {
    for nodes in [3, 6] {
        assert!(cuts(&format!("--nodes {nodes} --cuts 4 --seed {nodes}")));
    }
}

#[test]
fn cuts_are_found_under_light_loss_too() {
    assert!(cuts("--nodes 6 --cuts 2 --loss 0.1 --seed 5"));
}

#[test]
fn nothing_follows_from_a_wall_clock_that_jumps() {
    for nodes in [3, 6] {
        let arguments = format!("clock-step --steps 24 --nodes {nodes} --seed {nodes}");
        assert!(
            ClockStepArguments::parse_from(arguments.split(' '))
                .run()
                .passed()
        );
    }
}
