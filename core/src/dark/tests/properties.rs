//! What holds for any order of evidence.

use proptest::prelude::*;

use super::*;

proptest! {
    /// Fewer losses in a row than an accusation needs never declare anything, whoever sees them and whenever.
    #[test]
    fn rows_of_losses_below_the_threshold_never_declare(
        sightings in proptest::collection::vec((0_u32..6, 0_u32..6, 1_u32..4, any::<bool>()), 0..60),
    ) {
        let mut mesh = Mesh::new(6, 2);
        for (observer, subject, losses, heard) in sightings {
            if observer != subject {
                mesh.sees(observer, subject, View { losses, heard, ..DEAD });
            }
            mesh.run(100);
        }
        mesh.run(5_000);
        prop_assert!(mesh.opened.is_empty(), "{:?}", mesh.found());
    }

    /// No order of evidence panics, opens the same failure twice, or closes what is not open.
    #[test]
    fn opens_and_closes_alternate(
        steps in proptest::collection::vec((0_u8..5, 0_u32..6, 0_u32..6), 0..120),
    ) {
        let mut mesh = Mesh::new(6, 2);
        for (what, a, b) in steps {
            match what {
                0 => mesh.all_see(a, &[], DEAD),
                1 if a != b => mesh.reached_again(a, b),
                2 => mesh.silence(a),
                3 => { mesh.detector.handle_stream_opened(NodeIndex(a)); mesh.reporting[a as usize] = true; }
                4 if a != b => mesh.sees(a, b, View { heard: true, ..DEAD }),
                _ => {}
            }
            mesh.run(300);
        }
        let mut open: Vec<(Pattern, Vec<NodeIndex>)> = Vec::new();
        let mut opened = mesh.opened.iter();
        for declaration in opened.by_ref() {
            open.push((declaration.pattern, declaration.nodes.clone()));
        }
        for closed in &mesh.closed {
            let at = open.iter().position(|o| o == closed);
            prop_assert!(at.is_some(), "closed {closed:?}, which was not open");
            open.remove(at.unwrap_or_default());
        }
    }
}
