//! Meshes of two and three nodes: whoever accuses has to say it again.

use super::*;

#[test]
fn with_few_observers_all_must_accuse_and_it_must_be_silent() {
    let mut mesh = Mesh::new(3, 2);
    mesh.reporting[2] = false;
    mesh.sees(0, 2, DEAD);
    mesh.run(3_000);
    assert!(mesh.opened.is_empty(), "one of two observers");
    mesh.sees(1, 2, DEAD);
    mesh.run(3_000);
    assert!(
        mesh.opened.is_empty(),
        "nobody has said it again since both accuse"
    );
    mesh.sees(0, 2, DEAD);
    mesh.run(1_000);
    assert!(mesh.opened.is_empty(), "only one of the two has");
    mesh.sees(1, 2, DEAD);
    mesh.run(50);
    assert_eq!(mesh.found(), [(Pattern::NodeDark, vec![2])]);
    assert!(mesh.opened[0].few_observers);
}

#[test]
fn few_observers_say_again_what_they_see_of_a_node_that_reports() {
    let mut mesh = Mesh::new(3, 2);
    mesh.sees(0, 2, DEAD);
    mesh.sees(1, 2, DEAD);
    mesh.run(3_000);
    assert!(
        mesh.opened.is_empty(),
        "the words of both may have been overtaken"
    );
    mesh.sees(0, 2, DEAD);
    mesh.run(500);
    assert!(mesh.opened.is_empty(), "and so may that of one");
    mesh.sees(1, 2, DEAD);
    mesh.run(50);
    assert_eq!(mesh.found(), [(Pattern::Isolated, vec![2])]);
}

#[test]
fn two_nodes_that_lost_each_other_are_unconfirmed() {
    let mut mesh = Mesh::new(2, 1);
    mesh.sees(0, 1, DEAD);
    mesh.sees(1, 0, DEAD);
    mesh.run(3_000);
    assert!(mesh.opened.is_empty(), "nobody has said it again");
    mesh.sees(0, 1, DEAD);
    mesh.sees(1, 0, DEAD);
    mesh.run(50);
    assert_eq!(
        mesh.found(),
        [(Pattern::UnreachableUnconfirmed, vec![0, 1])]
    );
}
