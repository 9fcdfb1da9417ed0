//! Every fault does what it says, nothing else, and leaves nothing behind.

mod combined;
mod endpoints;
mod external;
mod flows;
mod https;
mod mtu;
mod names;
mod network;
mod nodes;
mod places;
mod queues;
mod services;
#[path = "../world/sized.rs"]
mod sized;
mod state;
mod throttle;
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
                "a_broken_upstream_fails_external_names_and_no_others",
                names::servfail,
            ),
            (
                "a_missing_record_is_missing_on_all_servers_and_comes_back",
                names::nxdomain,
            ),
            (
                "throttled_dns_servers_lose_the_share_that_was_asked_for",
                names::throttled,
            ),
            (
                "without_the_virtual_dns_address_the_servers_own_ones_work",
                names::vip_of_dns,
            ),
            (
                "a_drifted_resolver_misses_what_the_others_find",
                names::config_drift,
            ),
            (
                "a_virtual_address_spreads_connections_over_its_backends",
                endpoints::spread,
            ),
            (
                "a_stale_endpoint_takes_its_share_of_the_connections",
                endpoints::stale,
            ),
            (
                "external_targets_serve_every_node_with_and_without_tls",
                external::targets_serve,
            ),
            (
                "the_api_server_answers_behind_its_virtual_address",
                external::api_server,
            ),
            (
                "one_external_target_can_be_down_alone",
                external::target_down,
            ),
            (
                "bad_certificates_and_handshakes_leave_tcp_and_http_alone",
                external::tls,
            ),
            (
                "a_target_serves_the_status_that_was_asked_for",
                external::http_status,
            ),
            (
                "a_node_without_the_internet_is_clean_inside",
                external::external_node,
            ),
            (
                "without_translation_nobody_reaches_the_internet",
                external::external_all,
            ),
            (
                "the_proxy_runs_on_demand_and_tunnels_to_the_targets",
                external::proxy,
            ),
            (
                "unknown_targets_and_names_are_refused",
                external::unknown_targets,
            ),
            (
                "an_isolated_aggregator_is_reached_by_no_other_node",
                nodes::aggregator_isolated,
            ),
            (
                "a_black_hole_swallows_what_is_one_byte_too_large_in_its_direction",
                mtu::blackhole,
            ),
            (
                "a_signalled_limit_is_told_by_the_router_and_forgotten_afterwards",
                mtu::signalled,
            ),
            (
                "a_fabric_that_is_too_small_for_the_overlay_says_nothing",
                mtu::overlay_too_big,
            ),
            (
                "different_inner_flows_have_different_outer_ports",
                flows::outer_ports,
            ),
            (
                "a_dead_member_takes_its_share_of_the_flows_of_a_zone_pair",
                flows::ecmp_member,
            ),
            (
                "a_lossy_zone_pair_loses_its_share_in_each_direction",
                flows::zone_lossy,
            ),
            ("a_slow_node_delays_and_loses_nothing", queues::slow_node),
            (
                "a_full_connection_table_refuses_new_flows_and_keeps_old_ones",
                queues::conntrack_full,
            ),
            (
                "a_flapping_link_goes_down_and_up_until_it_is_healed",
                queues::flapping,
            ),
            (
                "a_conflicting_address_is_answered_by_the_other_node",
                places::address_conflict,
            ),
            ("mixed_backends_break_the_way_out_only", places::backend_mix),
            (
                "a_cluster_with_one_family_has_no_other",
                places::no_second_family,
            ),
            (
                "a_throttled_process_gets_its_share_and_no_more",
                throttle::throttled_prober,
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
