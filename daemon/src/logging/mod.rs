//! Logging to stderr: text or one JSON object a line, with a level that can change at run time.
//!
//! The level is an `EnvFilter` directive: `info`, `debug,h2=warn`,
//! `info,meshprobe_prober::reporter=trace`. A bad directive is refused where it is written
//! (configuration, flag, admin port), never ignored. Lines are written by a thread of their own, so
//! a pipe that nobody reads cannot stop the process. Panics go through the log as well, so that
//! they have its format and time.

mod writer;

use std::{
    fmt,
    io::{self, IsTerminal as _},
    str::FromStr,
    sync::OnceLock,
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::counter::ConstCounter,
};
use serde::{Deserialize, Serialize};
use tracing::{Subscriber, error};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use writer::LineQueue;

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: one line with its fields; colours on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("unknown log format {other:?}: write text or json")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// A checked log directive, such as `info` or `debug,h2=warn`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogLevel(String);

impl LogLevel {
    /// The directive as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn filter(&self) -> EnvFilter {
        // `FromStr` has parsed the same text; the lossy parser cannot drop anything from it.
        EnvFilter::builder().parse_lossy(&self.0)
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogLevel {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let bad = |reason: String| LogError::Directive {
            text: text.to_owned(),
            reason,
        };
        if text.is_empty() {
            return Err(bad("it is empty".to_owned()));
        }
        for directive in text.split(',') {
            // `EnvFilter` takes a lone unknown word for the name of a module and would then switch
            // everything else off: a misspelt "inof" would silence the process.
            let is_level = ["off", "error", "warn", "info", "debug", "trace"]
                .iter()
                .any(|level| directive.trim().eq_ignore_ascii_case(level));
            if !is_level && !directive.contains(['=', '[', ':']) {
                return Err(bad(format!("{:?} is not a level", directive.trim())));
            }
        }
        EnvFilter::builder()
            .parse(text)
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LogLevel {
    type Error = LogError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LogLevel> for String {
    fn from(level: LogLevel) -> Self {
        level.0
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `log` section of a configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `text` (default) or `json`.
    pub format: LogFormat,
    /// The least severe events to log; default `info`.
    pub level: LogLevel,
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The directive is not one.
    #[error(
        "bad log level {text:?}: {reason}; write off, error, warn, info, debug or trace, or \
         directives such as info,h2=warn"
    )]
    Directive {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The thread that writes the lines cannot be started.
    #[error("start the log's thread")]
    Thread(#[source] io::Error),
    /// Something else has installed a logger before.
    #[error("install the logger")]
    Install(#[source] TryInitError),
    /// The logger is gone.
    #[error("change the log level: the logger is gone")]
    Gone,
}

/// Changes the level at run time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// The directive in force.
    pub fn level(&self) -> Result<String, LogError> {
        self.filter
            .with_current(ToString::to_string)
            .map_err(|_| LogError::Gone)
    }

    /// Puts `level` in force for everything that is logged from now on.
    pub fn set_level(&self, level: &LogLevel) -> Result<(), LogError> {
        self.filter
            .reload(level.filter())
            .map_err(|_| LogError::Gone)
    }
}

/// The queue of the installed logger, for those that end the process.
static QUEUE: OnceLock<LineQueue> = OnceLock::new();

/// How long the end of the process waits for standard error.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// Writes out what is queued, within half a second. [`crate::exit::main`] calls it; so has to
/// whoever ends the process by other means.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_PATIENCE);
    }
}

/// Registers `meshprobe_log_lines_dropped_total`: lines lost because nobody read standard error.
pub(crate) fn register(registry: &mut prometheus_client::registry::Registry) {
    registry.register_collector(Box::new(DroppedLines));
}

#[derive(Debug)]
struct DroppedLines;

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let dropped = ConstCounter::new(QUEUE.get().map_or(0, LineQueue::dropped));
        let help = "Log lines lost because nobody read standard error in time";
        let name = "meshprobe_log_lines_dropped";
        dropped.encode(encoder.encode_descriptor(name, help, None, dropped.metric_type())?)
    }
}

/// Installs the process' logger and the panic hook. Call it once, first thing in `main`.
pub fn init(config: &LogConfig) -> Result<LogHandle, LogError> {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let queue = LineQueue::start(io::stderr(), config.format).map_err(LogError::Thread)?;
    let (subscriber, handle) = subscriber(config, queue.clone(), colours);
    subscriber.try_init().map_err(LogError::Install)?;
    QUEUE.get_or_init(|| queue);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = panic_message(panic.payload());
        error!(place, message, backtrace = %std::backtrace::Backtrace::capture(), "Panicked");
    }));
    Ok(handle)
}

/// The text of a panic.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text")
}

/// Builds a logger without installing it.
pub(crate) fn subscriber<W>(
    config: &LogConfig,
    writer: W,
    colours: bool,
) -> (impl Subscriber + Send + Sync + use<W>, LogHandle)
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let LogConfig { format, level } = config;
    let (filter, handle) = reload::Layer::new(level.filter());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .log_internal_errors(true);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
    };
    (
        tracing_subscriber::registry().with(filter).with(lines),
        LogHandle { filter: handle },
    )
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use parking_lot::Mutex;
    use tracing::{debug, info, subscriber::with_default};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn captured(
        format: LogFormat,
        level: &str,
    ) -> (impl Subscriber + Send + Sync, LogHandle, Captured) {
        let captured = Captured::default();
        let writer = captured.clone();
        let config = LogConfig {
            format,
            level: level.parse().unwrap(),
        };
        let (subscriber, handle) = subscriber(&config, move || writer.clone(), false);
        (subscriber, handle, captured)
    }

    #[test]
    fn json_lines_carry_the_fields_at_the_top_level() {
        let (subscriber, _handle, captured) = captured(LogFormat::Json, "info");
        with_default(subscriber, || info!(target_count = 7, "Loaded"));
        let text = captured.text();
        assert!(text.starts_with('{') && text.ends_with("}\n"), "{text}");
        assert!(
            text.contains(r#""message":"Loaded""#) && text.contains(r#""target_count":7"#),
            "{text}"
        );
        assert!(text.contains(r#""level":"INFO""#), "{text}");
    }

    #[test]
    fn the_level_changes_at_run_time_and_is_read_back() {
        let (subscriber, handle, captured) = captured(LogFormat::Text, "info");
        with_default(subscriber, || {
            debug!("before");
            handle.set_level(&"debug".parse().unwrap()).unwrap();
            debug!("after");
            assert_eq!(handle.level().unwrap(), "debug");
        });
        let text = captured.text();
        assert!(text.contains("after") && !text.contains("before"), "{text}");
    }

    #[test]
    fn a_directive_for_one_module_leaves_the_others_alone() {
        let (subscriber, _handle, captured) = captured(LogFormat::Text, "info,quiet=off");
        with_default(subscriber, || {
            info!(target: "quiet", "hidden");
            info!(target: "loud", "shown");
        });
        let text = captured.text();
        assert!(text.contains("shown") && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn a_bad_level_is_refused_with_what_to_write() {
        for bad in ["", "inof", "info,,", "h2=loud", "info,debgu"] {
            let error = bad.parse::<LogLevel>().unwrap_err().to_string();
            assert!(
                error.contains("write off, error, warn, info"),
                "{bad:?}: {error}"
            );
        }
    }

    #[test]
    fn good_directives_are_taken_as_written() {
        for good in [
            "info",
            "WARN",
            "info,h2=warn",
            "off",
            "meshprobe_prober::reporter=trace",
            " debug ",
        ] {
            assert_eq!(good.parse::<LogLevel>().unwrap().as_str(), good.trim());
        }
    }

    #[test]
    fn an_unknown_format_is_refused_with_what_to_write() {
        assert_eq!(
            "xml".parse::<LogFormat>().unwrap_err(),
            "unknown log format \"xml\": write text or json"
        );
        assert_eq!("json".parse::<LogFormat>().unwrap().to_string(), "json");
    }
}
