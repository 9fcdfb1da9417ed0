//! The program as its users run it: output, exit codes and errors, against an aggregator's API on a loopback port.

#[expect(unreachable_pub, reason = "a module of this test program alone")]
mod fake;
#[expect(unreachable_pub, reason = "shared with the unit tests")]
mod samples;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fake::{Answers, FakeAggregator};
use meshprobe_proto::v1;

fn healthy() -> Answers {
    Answers {
        status: samples::status(),
        nodes: samples::nodes()
            .into_iter()
            .filter(|node| node.name != "mesh-3")
            .collect(),
        matrix: samples::mesh(5, 2).build(),
        incidents: vec![samples::resolved("mesh-5")],
        path: Some(v1::PathDetail {
            forward: samples::path().forward.split_off(1),
            ..v1::PathDetail::default()
        }),
        delay: Duration::ZERO,
    }
}

fn broken() -> Answers {
    Answers {
        status: v1::Status {
            open_incidents: 1,
            ..samples::status()
        },
        nodes: samples::nodes(),
        matrix: samples::mesh(5, 2).dark(2).build(),
        incidents: vec![samples::node_dark("mesh-3"), samples::resolved("mesh-5")],
        path: Some(samples::path()),
        delay: Duration::ZERO,
    }
}

fn command(aggregator: &FakeAggregator, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshprobe"));
    command
        .args(line.split_whitespace())
        .env("MESHPROBE_SERVER", aggregator.address.to_string())
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env("COLUMNS", "120");
    command
}

fn run(aggregator: &FakeAggregator, line: &str) -> Output {
    command(aggregator, line).output().expect("runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

const JUDGING: [&str; 9] = [
    "findings",
    "explain mesh-1 mesh-3",
    "assert --healthy-within 0s",
    "status",
    "nodes",
    "matrix",
    "path mesh-1 mesh-3",
    "incidents",
    "incidents --all",
];

#[test]
fn a_healthy_mesh_ends_every_command_with_0() {
    let aggregator = FakeAggregator::start(healthy());
    for line in JUDGING {
        let output = run(&aggregator, line);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{line}: {}{}",
            stdout(&output),
            stderr(&output)
        );
        assert_eq!(stderr(&output), "", "{line}");
    }
}

#[test]
fn a_broken_mesh_ends_every_command_with_2_in_every_format() {
    let aggregator = FakeAggregator::start(broken());
    for line in JUDGING {
        for format in ["table", "wide", "json", "yaml"] {
            let output = run(&aggregator, &format!("{line} -o {format}"));
            assert_eq!(
                output.status.code(),
                Some(2),
                "{line} -o {format}: {}",
                stderr(&output)
            );
            assert_eq!(stderr(&output), "", "{line} -o {format}");
        }
    }
}

#[test]
fn a_probe_on_demand_tells_how_it_ended() {
    let aggregator = FakeAggregator::start(healthy());
    let output = run(&aggregator, "probe mesh-1 mesh-2 --kind tcp");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        "mesh-1 -> mesh-2 by tcp/pod/v4: reply in 0.31ms\n"
    );
    let output = run(&aggregator, "probe mesh-1 mesh-3");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout(&output), "mesh-1 -> mesh-3 by udp/pod/v4: timeout\n");
    let output = run(&aggregator, "probe mesh-1 nobody");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no node \"nobody\""));
}

#[test]
fn one_node_is_shown_by_its_name() {
    let aggregator = FakeAggregator::start(healthy());
    let output = run(&aggregator, "node mesh-1");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).starts_with("mesh-1 is ok"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn an_answer_about_the_past_says_which_window_it_is_of() {
    let aggregator = FakeAggregator::start(healthy());
    for line in [
        "nodes --at 2026-11-29T03:10:03Z",
        "matrix --at 2026-11-29T03:10:03Z",
        "path mesh-1 mesh-2 --at 2026-11-29T04:10:03+01:00",
        "findings --at 2026-11-29T03:10:03Z",
    ] {
        let output = run(&aggregator, line);
        let told = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        assert!(
            told.starts_with("As it was from 2026-11-29T03:10:00Z to 2026-11-29T03:10:10Z"),
            "{line}: {told}"
        );
    }
    let output = run(&aggregator, "nodes mesh-1 --at -2h");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is not kept"));
}

#[test]
fn a_bundle_is_saved_and_never_over_another_file() {
    let aggregator = FakeAggregator::start(healthy());
    let id = samples::resolved("mesh-5").id;
    let path = std::env::temp_dir().join(format!("meshprobe-bundle-{}", std::process::id()));
    let line = format!("incidents bundle {id} -f {}", path.display());
    let output = run(&aggregator, &line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let saved = std::fs::read_to_string(&path).expect("saved");
    let again = run(&aggregator, &line);
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(saved, format!("bundle of {id}"));
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("create "), "{}", stderr(&again));
    let output = run(&aggregator, &format!("incidents bundle {id} -f -"));
    assert_eq!(stdout(&output), format!("bundle of {id}"));
}

#[test]
fn the_first_line_of_the_matrix_is_the_conclusion() {
    let aggregator = FakeAggregator::start(broken());
    let text = stdout(&run(&aggregator, "matrix"));
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "5 nodes, 20 paths: 12 healthy, 4 down, 4 without data. 1 open incident: node-dark mesh-3"
    );
}

#[test]
fn json_and_yaml_say_the_same() {
    let aggregator = FakeAggregator::start(broken());
    for line in JUDGING {
        let json: serde_json::Value =
            serde_json::from_str(&stdout(&run(&aggregator, &format!("{line} -o json")))).unwrap();
        let yaml: serde_json::Value =
            serde_saphyr::from_str(&stdout(&run(&aggregator, &format!("{line} -o yaml")))).unwrap();
        assert_eq!(json, yaml, "{line}");
    }
}

#[test]
fn colours_appear_only_when_they_are_asked_for_in_a_pipe() {
    let aggregator = FakeAggregator::start(broken());
    let plain = stdout(&run(&aggregator, "matrix"));
    assert!(!plain.contains('\x1b'), "{plain}");
    let coloured = stdout(&run(&aggregator, "matrix --color always"));
    assert!(coloured.contains("\x1b["), "{coloured}");
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
    let refused = command(&aggregator, "matrix")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(!stdout(&refused).contains('\x1b'));
}

#[test]
fn an_aggregator_that_is_not_there_is_named_with_advice() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_meshprobe"))
        .args(["status", "--server", &free.to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        format!(
            "meshprobe: cannot reach the aggregator at {free}: connection refused. Is it running there? \
             Set --server host:port or MESHPROBE_SERVER\n"
        )
    );
    assert_eq!(stdout(&output), "");
}

#[test]
fn something_else_on_the_port_is_no_aggregator() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Takes everything, answers nothing.
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or(0)
    });
    let output = Command::new(env!("CARGO_BIN_EXE_meshprobe"))
        .args([
            "status",
            "--timeout",
            "300ms",
            "--server",
            &address.to_string(),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("did not answer within 300ms"),
        "{}",
        stderr(&output)
    );
    silent.join().unwrap();
}

#[test]
fn a_slow_aggregator_is_not_waited_for_beyond_the_timeout() {
    let aggregator = FakeAggregator::start(Answers {
        delay: Duration::from_secs(60),
        ..healthy()
    });
    let output = run(&aggregator, "matrix --timeout 200ms");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("Set --timeout"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_unknown_node_is_refused_in_the_aggregators_words() {
    let aggregator = FakeAggregator::start(Answers {
        path: None,
        ..healthy()
    });
    let output = run(&aggregator, "path mesh-1 mesh-9");
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(1), "meshprobe: there is no node \"mesh-9\"\n")
    );
}

#[test]
fn bad_arguments_end_with_1_because_2_means_unhealthy() {
    for arguments in [
        &["--bogus"][..],
        &["matrix", "--plane", "moon"],
        &[],
        &["status", "--timeout", "5"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_meshprobe"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(!stderr(&output).is_empty());
    }
    let help = Command::new(env!("CARGO_BIN_EXE_meshprobe"))
        .arg("--help")
        .output()
        .unwrap();
    assert_eq!(help.status.code(), Some(0));
}

#[test]
fn an_incident_is_found_by_the_beginning_of_its_id_on_any_page() {
    let aggregator = FakeAggregator::start(broken());
    let open = run(&aggregator, "incidents show 7c1f");
    assert_eq!(open.status.code(), Some(2));
    assert!(stdout(&open).contains("its last report arrived 13 s ago"));
    let resolved = run(&aggregator, "incidents show 11aa");
    assert_eq!(resolved.status.code(), Some(0));
    let unknown = run(&aggregator, "incidents show ffff");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("incidents --all"));
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let aggregator = FakeAggregator::start(broken());
    for line in ["matrix", "completion bash", "--help", "status -o json"] {
        let mut child = command(&aggregator, line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(errors, "", "{line}");
        assert!(matches!(code, Some(0 | 2)), "{line}: {code:?}");
    }
}

#[test]
fn watch_prints_a_line_for_each_change_and_ends_with_its_reader() {
    let aggregator = FakeAggregator::start(Answers {
        incidents: vec![samples::node_dark("mesh-3")],
        ..broken()
    });
    let mut child = command(&aggregator, "watch")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().contains("OPEN     node-dark mesh-3"));
    let mut incident = samples::node_dark("mesh-3");
    // An update of what is known is no line.
    aggregator.incidents.send(incident.clone()).unwrap();
    incident.state = v1::IncidentState::Resolved.into();
    incident.resolved_at = incident.updated_at;
    aggregator.incidents.send(incident.clone()).unwrap();
    assert!(next().contains("RESOLVED node-dark mesh-3 after 10s"));
    drop(lines);
    incident.reopened = 1;
    aggregator.incidents.send(incident).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn watch_matrix_into_a_pipe_prints_whole_tables_without_codes() {
    let aggregator = FakeAggregator::start(broken());
    let mut child = command(&aggregator, "watch matrix")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let table: Vec<String> = lines
        .map(Result::unwrap)
        .take_while(|line| !line.contains("itself"))
        .collect();
    assert!(table[0].starts_with("5 nodes, 20 paths"), "{table:?}");
    assert!(table.iter().all(|line| !line.contains('\x1b')));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_completion_script_of_every_shell_knows_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(env!("CARGO_BIN_EXE_meshprobe"))
            .args(["completion", shell])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("incidents"), "{shell}");
    }
}

#[test]
fn a_test_of_receivers_tells_each_answer_and_fails_if_one_did() {
    let aggregator = FakeAggregator::start(healthy());
    let output = run(&aggregator, "notify test pager");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "delivered pager: 200 OK: thank you\n");
    let output = run(&aggregator, "notify test all");
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("failed chat: 404 Not Found: no_service"));
}

#[test]
fn notifications_that_were_given_up_are_listed_and_tried_again() {
    let aggregator = FakeAggregator::start(healthy());
    let output = run(&aggregator, "notify list");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.starts_with("1 notification given up, 1 waiting."),
        "{text}"
    );
    assert!(text.contains("401: who are you"), "{text}");
    let output = run(&aggregator, "notify list --state pending");
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).starts_with("1 notification waits."));
    let output = run(&aggregator, "notify retry n.1");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "node-dark mesh-3 to pager is tried now.\n");
}

#[test]
fn assert_waits_for_health_and_says_what_keeps_it_from_it() {
    let aggregator = FakeAggregator::start(healthy());
    let output = run(&aggregator, "assert --healthy-within 10s --stable-for 2s");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "Healthy for 2s: 3 nodes report, nothing is found.\n"
    );
    let output = run(&aggregator, "assert --healthy-within 1s --stable-for 2s");
    assert_eq!(output.status.code(), Some(1));
    drop(aggregator);

    let aggregator = FakeAggregator::start(broken());
    let output = run(&aggregator, "assert --healthy-within 1s");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.starts_with("Not healthy: 1 finding; 1 open incident."),
        "{text}"
    );
    assert!(text.contains("node-dark"), "{text}");
    assert!(
        stderr(&output).contains("waiting: 1 finding"),
        "{}",
        stderr(&output)
    );

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    let mut unreachable = command(&aggregator, "assert --healthy-within 1s");
    let output = unreachable
        .env("MESHPROBE_SERVER", nobody)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(
        stderr(&output).contains("cannot reach"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn silences_are_made_listed_and_ended() {
    let aggregator = FakeAggregator::start(broken());
    let line = "silence add node=mesh-3 pattern=~node-.* --for 2h --author ana";
    let output = run(&aggregator, line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains(": node=mesh-3 pattern=~node-.*\n"), "{text}");
    assert!(text.contains("silence remove 00c0ffee00c0ffee"), "{text}");
    let output = run(&aggregator, "silence list");
    assert!(stdout(&output).contains("ana"), "{}", stdout(&output));
    assert_eq!(stdout(&output).lines().count(), 4, "{}", stdout(&output));
    let output = run(&aggregator, "maintenance list --all");
    assert!(
        stdout(&output).contains("label.rack!=\"row 7\""),
        "{}",
        stdout(&output)
    );
    let output = run(&aggregator, "silence remove 00c0");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("Ended 00c0ffee00c0ffee"));
    for (line, word) in [
        ("silence remove ffff", "silence list"),
        ("silence add nod=x --for 2h", "nothing is called"),
    ] {
        let output = run(&aggregator, line);
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
}

#[test]
fn watch_findings_prints_each_once() {
    let aggregator = FakeAggregator::start(broken());
    let mut child = command(&aggregator, "watch findings")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert!(
        line.contains("FOUND node-dark mesh-3: mesh-3 is dark"),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lines.next().is_none());
}

#[test]
fn findings_of_all_pages_are_one_list() {
    let aggregator = FakeAggregator::start(broken());
    let output = run(&aggregator, "findings --zone zone-b");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stdout(&output);
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "2 findings: node-dark mesh-3; zone-pair zone-a→zone-b"
    );
    let output = run(&aggregator, "findings --zone zone-b -o json");
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 2);
    assert_eq!(json["findings"][1]["loss"]["lost"], "102");
}

#[test]
fn a_node_is_drained_and_an_event_is_told() {
    let aggregator = FakeAggregator::start(healthy());
    let output = run(
        &aggregator,
        "drain mesh-1 --for 2h --author ana --comment disk",
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "mesh-1 is leaving: Drained for 7200 s by ana: disk\nIt is probed as ever and not judged.\n"
    );
    let output = run(&aggregator, "drain mesh-1 --end");
    assert_eq!(stdout(&output), "mesh-1 is ok.\n", "{}", stderr(&output));
    let output = run(&aggregator, "drain mesh-9");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("mesh-9"), "{}", stderr(&output));
    let output = run(&aggregator, "drain mesh-1 --end --for 2h");
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let output = run(&aggregator, "event mesh-1 FailedMount gone --at -5m");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(
        told.contains("What the cluster said\n  5m0s ago: FailedMount: gone"),
        "{told}"
    );
}
