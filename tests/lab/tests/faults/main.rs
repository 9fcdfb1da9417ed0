//! Every fault does what it says, nothing else, and leaves nothing behind.

mod combined;
mod network;
mod nodes;
mod services;
mod state;
mod ways;
#[path = "../world/mod.rs"]
mod world;

use std::process::ExitCode;

use meshprobe_lab::LabSpec;

fn main() -> ExitCode {
    let spec = LabSpec {
        nodes: 6,
        zones: 2,
        ..LabSpec::default()
    };
    world::run(
        &spec,
        &[
            (
                "a_dark_node_is_reached_by_nobody_on_any_plane",
                nodes::node_dark,
            ),
            ("a_freeze_ends_by_itself", nodes::node_freeze),
            (
                "a_killed_prober_is_the_callers_and_starts_again_on_heal",
                nodes::prober_down,
            ),
            (
                "cut_reports_leave_everything_else_alone",
                nodes::reports_cut,
            ),
            (
                "dead_ingress_loses_what_arrives_and_not_what_leaves",
                nodes::ingress_dead,
            ),
            (
                "dead_egress_leaves_the_underlay_way_home",
                nodes::egress_dead,
            ),
            (
                "missing_overlay_routes_leave_the_underlay_way_home",
                network::overlay_routes_missing,
            ),
            (
                "one_missing_route_breaks_one_pair",
                network::overlay_one_route,
            ),
            (
                "a_blocked_overlay_port_leaves_the_host_plane_alone",
                network::overlay_port_blocked,
            ),
            (
                "a_one_way_path_is_broken_in_one_direction_only",
                network::path_one_way,
            ),
            ("partitioned_zones_work_inside", network::zone_partition),
            ("loss_has_the_rate_that_was_asked_for", network::loss),
            (
                "blocked_udp_leaves_tcp_alone_and_the_other_way_round",
                network::protocol_blocked,
            ),
            (
                "a_dead_dns_instance_takes_its_share_of_the_virtual_address",
                services::dns_instance_down,
            ),
            ("blocked_dns_leaves_other_udp_alone", services::dns_blocked),
            (
                "broken_virtual_addresses_leave_pod_addresses_alone",
                services::vip_broken,
            ),
            (
                "an_isolated_aggregator_is_reached_by_no_other_node",
                nodes::aggregator_isolated,
            ),
            ("faults_combine_and_heal_in_any_order", combined::two_faults),
            (
                "two_faults_that_remove_the_same_thing_give_it_back_once",
                combined::shared_thing,
            ),
            ("a_fault_that_is_dropped_is_healed", combined::dropped_fault),
            (
                "wrong_places_are_refused_and_change_nothing",
                combined::wrong_places,
            ),
        ],
    )
}
