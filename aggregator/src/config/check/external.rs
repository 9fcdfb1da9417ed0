//! Targets outside the mesh: what only several fields of one, or its files, can get wrong.

use meshprobe_core::path::Family;
use meshprobe_daemon::config::{ConfigProblems, Spanned};

use super::{at_most_entries, is_domain_name, label, unique};
use crate::config::{Ask, External, ExternalTarget, read_bundle};

/// More targets no prober takes.
const MAX_TARGETS: usize = 256;
/// Redirects that a prober follows at most.
const MAX_REDIRECTS: u32 = 10;
/// Longest text that a prober looks for in a body.
const MAX_BODY: usize = 1_024;
/// All bundles together travel in every assignment, whose size is bounded.
const MAX_BUNDLES: usize = 1 << 20;

pub(super) fn check(external: &External, problems: &mut ConfigProblems) {
    let External { allow: _, targets } = external;
    unique(
        problems,
        "external.targets",
        "external target",
        targets.iter().map(|target| &target.name),
    );
    at_most_entries(problems, "external.targets", targets.len(), MAX_TARGETS);
    let mut bundles = 0;
    for (index, target) in targets.iter().enumerate() {
        let mut checked = Checked {
            external,
            target,
            place: format!("external.targets[{index}]"),
            problems,
        };
        checked.check();
        bundles += checked.bundle();
    }
    problems.require(bundles <= MAX_BUNDLES, "external.targets", || {
        format!(
            "all ca_file together have {bundles} bytes, at most {MAX_BUNDLES} fit into an assignment; write only the \
             authorities that are needed"
        )
    });
}

/// One target under examination.
struct Checked<'a> {
    external: &'a External,
    target: &'a ExternalTarget,
    place: String,
    problems: &'a mut ConfigProblems,
}

impl Checked<'_> {
    fn check(&mut self) {
        let target = self.target;
        label(self.problems, &target.name, &format!("{}.name", self.place));
        let Some(ask) = target.ask() else {
            self.add(
                &target.name,
                "",
                "write exactly one of tcp: host:port, tls: host:port, url: https://host/path",
            );
            return;
        };
        match ask {
            Ask::Tcp(end) => self.check_end(end, ".tcp", ask),
            Ask::Tls(end) => self.check_end(end, ".tls", ask),
            Ask::Http(url) => {
                if !url.value.username().is_empty() || url.value.password().is_some() {
                    // Without the URL: this text goes into logs.
                    let reason =
                        "has a user or a password, which probers do not send; take them out";
                    self.add(url, ".url", reason);
                } else if matches!(url.value.scheme(), "http" | "https") && url.value.has_host() {
                    self.check_end(url, ".url", ask);
                } else {
                    self.add(
                        url,
                        ".url",
                        format!(
                            "bad URL {}: write http:// or https:// and a host, for example https://shop.example.com/health",
                            url.value
                        ),
                    );
                }
            }
        }
        self.check_tls(ask);
        self.check_response(ask);
    }

    fn check_end<T>(&mut self, at: &Spanned<T>, field: &str, ask: Ask<'_>) {
        let Some(end) = ask.end() else { return };
        if let Err(reason) = self.external.fence(&end) {
            self.add(at, field, reason);
        }
        if let (Some(family), Some(ip)) = (&self.target.family, end.ip())
            && family.value != Family::of(ip)
        {
            let reason = format!(
                "{ip} is no {} address; write {} or leave it out",
                family.value,
                Family::of(ip)
            );
            self.add(family, ".family", reason);
        }
    }

    fn check_tls(&mut self, ask: Ask<'_>) {
        let is_encrypted = match ask {
            Ask::Tcp(_) => false,
            Ask::Tls(_) => true,
            Ask::Http(url) => url.value.scheme() == "https",
        };
        if let Some(name) = &self.target.server_name {
            if !is_encrypted {
                self.add(
                    name,
                    ".server_name",
                    "belongs to tls and https:// targets; remove it",
                );
            } else if !is_domain_name(&name.value)
                && name.value.parse::<std::net::IpAddr>().is_err()
            {
                let reason = format!(
                    "{:?} is no name that a certificate has; write for example shop.example.com",
                    name.value
                );
                self.add(name, ".server_name", reason);
            }
        }
        if let Some(file) = &self.target.ca_file
            && !is_encrypted
        {
            self.add(
                file,
                ".ca_file",
                "belongs to tls and https:// targets; remove it",
            );
        }
    }

    fn check_response(&mut self, ask: Ask<'_>) {
        let is_http = matches!(ask, Ask::Http(_));
        if let Some(redirects) = &self.target.redirects
            && (redirects.value > MAX_REDIRECTS || !is_http)
        {
            let reason = format!(
                "must be 0 to {MAX_REDIRECTS} and belongs to url targets, is {}",
                redirects.value
            );
            self.add(redirects, ".redirects", reason);
        }
        let Some(expect) = &self.target.expect else {
            return;
        };
        if !is_http {
            self.add(expect, ".expect", "belongs to url targets; remove it");
        }
        for (index, status) in expect.value.status.iter().enumerate() {
            if !(100..600).contains(&status.value) {
                let reason = format!("must be 100 to 599, is {}", status.value);
                self.add(status, &format!(".expect.status[{index}]"), reason);
            }
        }
        if expect.value.body.len() > MAX_BODY {
            let reason = format!("has more than {MAX_BODY} bytes; write a part that tells enough");
            self.add(expect, ".expect.body", reason);
        }
    }

    /// How much the target's authorities add to an assignment.
    fn bundle(&mut self) -> usize {
        let Some(file) = &self.target.ca_file else {
            return 0;
        };
        match read_bundle(&file.value) {
            Ok(text) => text.len(),
            Err(error) => {
                let reason = format!("{}: {error}", file.value.display());
                self.add(file, ".ca_file", reason);
                0
            }
        }
    }

    fn add<T>(&mut self, at: &Spanned<T>, field: &str, text: impl Into<String>) {
        self.problems
            .add_at(at, format!("{}{field}", self.place), text);
    }
}
