//! Faults at and on the way to what is no node.

use meshprobe_core::finding::{Pattern, Scope};

use super::super::fault::Fault;
use super::super::rule::{DnsWrong, Drop, Ends, Rule, Vip, Wrong};
use super::super::world::{DNS_VIP, EXTERNAL_NAME, NAMES, RESPONDERS, SERVERS, World};
use super::Draw;

impl Draw<'_> {
    fn instance(&mut self) -> usize {
        self.chance.index(self.world.dns.len())
    }

    pub(super) fn dns_server(&mut self) -> Fault {
        let instance = self.instance();
        let wrong = if self.chance.index(2) == 0 {
            DnsWrong::Killed
        } else {
            DnsWrong::Gone
        };
        let rule = Rule::Dns {
            instance: Some(instance),
            wrong,
        };
        let server = World::dns_name(instance);
        let title = format!("{server} {wrong:?}");
        let name = (Pattern::DnsServer, Scope::target(server));
        self.fault(&title, vec![rule], name, true)
    }

    pub(super) fn dns_overloaded(&mut self) -> Fault {
        let loss = (10 + self.chance.index(50)) as f64 / 100.0;
        let instance = (self.chance.index(2) == 0).then(|| self.instance());
        let rule = Rule::Dns {
            instance,
            wrong: DnsWrong::Starved(loss),
        };
        let scope = instance.map_or(Scope::everywhere(), |instance| {
            Scope::target(World::dns_name(instance))
        });
        let title = format!("{scope} {:.0} %", loss * 100.0);
        let name = (Pattern::DnsOverloaded, scope);
        self.fault(&title, vec![rule], name, false)
    }

    pub(super) fn dns_blocked(&mut self) -> Fault {
        let node = self.node();
        let drop = Drop {
            dns: true,
            ..Drop::all(Ends::Node(node), Ends::Any, 1.0)
        };
        self.at_node(node, 1.0, Pattern::DnsBlocked, &[drop])
    }

    pub(super) fn dns_upstream(&mut self) -> Fault {
        let rule = Rule::Dns {
            instance: None,
            wrong: DnsWrong::Rcode {
                name: None,
                rcode: 2,
            },
        };
        let name = (Pattern::DnsUpstream, Scope::everywhere());
        self.fault("", vec![rule], name, true)
    }

    pub(super) fn dns_name(&mut self) -> Fault {
        let (name, rcode) = match self.chance.index(3) {
            0 => (0, 3),
            1 => (EXTERNAL_NAME, 3),
            // A wildcard that answers what must not exist.
            _ => (2, 0),
        };
        let rule = Rule::Dns {
            instance: None,
            wrong: DnsWrong::Rcode {
                name: Some(name),
                rcode,
            },
        };
        let text = NAMES[name].0;
        let expected = (Pattern::DnsName, Scope::target(text));
        self.fault(text, vec![rule], expected, true)
    }

    pub(super) fn dns_vip(&mut self) -> Fault {
        let node = self.node();
        let rule = Rule::NoVip {
            node: Some(node),
            vip: Vip::Dns,
        };
        let name = World::name(node);
        let title = name.to_string();
        let expected = (Pattern::ServiceVip, Scope::node(name).with_target(DNS_VIP));
        self.fault(&title, vec![rule], expected, true)
    }

    pub(super) fn vip_broken(&mut self) -> Fault {
        let node = self.node();
        let rule = Rule::NoVip {
            node: Some(node),
            vip: Vip::All,
        };
        let name = World::name(node);
        let title = name.to_string();
        let expected = (Pattern::ServiceVip, Scope::node(name));
        self.fault(&title, vec![rule], expected, true)
    }

    pub(super) fn vip_stale(&mut self) -> Fault {
        let expected = (Pattern::ServiceVip, Scope::target(RESPONDERS));
        self.fault("", vec![Rule::StaleBackend], expected, false)
    }

    pub(super) fn external_node(&mut self) -> Fault {
        let node = self.node();
        let drop = Drop::all(Ends::Node(node), Ends::Internet, 1.0);
        self.at_node(node, 1.0, Pattern::External, &[drop])
    }

    pub(super) fn external_all(&mut self) -> Fault {
        let drop = Drop::all(Ends::AnyNode, Ends::Internet, 1.0);
        self.everywhere(1.0, (Pattern::External, Scope::everywhere()), drop)
    }

    fn server(&mut self, pattern: Pattern, wrong: Wrong) -> Fault {
        let server = self.chance.index(SERVERS.len());
        let name = SERVERS[server];
        let rule = Rule::Server { server, wrong };
        let title = format!("{name} {wrong:?}");
        self.fault(&title, vec![rule], (pattern, Scope::target(name)), true)
    }

    pub(super) fn external_target(&mut self) -> Fault {
        let wrong = [Wrong::Refused, Wrong::Silent][self.chance.index(2)];
        self.server(Pattern::External, wrong)
    }

    pub(super) fn tls(&mut self) -> Fault {
        let wrong = [Wrong::Expired, Wrong::Handshake][self.chance.index(2)];
        self.server(Pattern::Tls, wrong)
    }

    pub(super) fn http(&mut self) -> Fault {
        let wrong = [Wrong::Status(502), Wrong::Status(503)][self.chance.index(2)];
        self.server(Pattern::Http, wrong)
    }
}
