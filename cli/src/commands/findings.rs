//! `meshprobe findings`.

use jiff::Timestamp;
use meshprobe_proto::v1;

use crate::args::{Format, SeverityArg};
use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;
use crate::render::{finding, time};

/// What is asked for; what is empty means all.
pub(super) fn request(
    pattern: String,
    node: String,
    zone: String,
    severity: Option<SeverityArg>,
    at: Option<Timestamp>,
) -> v1::ListFindingsRequest {
    let severity = severity.map_or(v1::Severity::Unspecified, |severity| match severity {
        SeverityArg::Info => v1::Severity::Info,
        SeverityArg::Warning => v1::Severity::Warning,
        SeverityArg::Critical => v1::Severity::Critical,
    });
    v1::ListFindingsRequest {
        pattern,
        node,
        zone,
        severity: severity.into(),
        at: at.map(time::wire),
        ..v1::ListFindingsRequest::default()
    }
}

pub(super) async fn run(
    client: &Client,
    request: v1::ListFindingsRequest,
    console: &Console,
) -> anyhow::Result<Health> {
    let found = client.findings(request).await?;
    let wide = console.format == Format::Wide;
    console.answer(
        || finding::render(&found, console.fitting_width(), wide, console.now()),
        &found,
    )?;
    Ok(Health::unless(!found.findings.is_empty()))
}
