//! Standard output: how wide it is, whether it shows colours, and what happens when its reader goes away.

use std::io::{self, IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};
use jiff::Timestamp;
use prost::Name;

use crate::args::{Color, Format, Global};
use crate::document::Documents;

/// Columns that are assumed when standard output is not a terminal. Wide enough for a hundred nodes.
const PIPE_WIDTH: usize = 220;

/// Where a command writes.
#[derive(Debug)]
pub struct Console {
    /// Shape of the output.
    pub format: Format,
    /// Columns to fit into.
    width: usize,
    /// Can the screen be redrawn?
    pub is_terminal: bool,
    color: ColorChoice,
    documents: Documents,
}

/// Is there still somebody who reads?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Yes, as far as known.
    Present,
    /// No: the pipe is closed. Not an error, and nothing more needs to be written.
    Gone,
}

impl Console {
    /// Looks at standard output once.
    pub fn for_standard_output(global: &Global) -> anyhow::Result<Self> {
        let is_terminal = io::stdout().is_terminal();
        Ok(Self {
            format: global.output,
            width: terminal_width(),
            is_terminal,
            color: match global.color {
                Color::Auto => ColorChoice::Auto,
                Color::Always => ColorChoice::Always,
                Color::Never => ColorChoice::Never,
            },
            documents: Documents::new()?,
        })
    }

    /// Columns to fit into; `None` if everything is wanted, however wide.
    pub fn fitting_width(&self) -> Option<usize> {
        (self.format != Format::Wide).then_some(self.width)
    }

    /// The time that ages are counted back from.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Writes text; takes the colours out where they are not wanted.
    pub fn print(&self, text: &str) -> io::Result<Reader> {
        let mut out = AutoStream::new(io::stdout(), self.color).lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(Reader::Present),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(error),
        }
    }

    /// Clears the screen and writes text from its top.
    pub fn redraw(&self, text: &str) -> io::Result<Reader> {
        // Home, then erase to the end of each line and of the screen: no flicker, unlike erasing first.
        let body = text.replace('\n', "\x1b[K\n");
        let mut out = io::stdout().lock();
        let text = match AutoStream::choice(&io::stdout()) {
            _ if self.color == ColorChoice::Never => {
                anstream::adapter::strip_str(&body).to_string()
            }
            ColorChoice::Never if self.color == ColorChoice::Auto => {
                anstream::adapter::strip_str(&body).to_string()
            }
            _ => body,
        };
        match out
            .write_all(format!("\x1b[H{text}\x1b[J").as_bytes())
            .and_then(|()| out.flush())
        {
            Ok(()) => Ok(Reader::Present),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(error),
        }
    }

    /// Writes a command's answer: the text for people, or the message as JSON or YAML.
    pub fn answer(&self, text: impl FnOnce() -> String, message: &impl Name) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Table | Format::Wide => text(),
            Format::Yaml => self.documents.yaml(message)?,
            Format::Json => self.documents.json(message)?,
        };
        self.print(&text)?;
        Ok(())
    }

    /// Writes one message of a stream: a line of JSON, or a YAML document with its `---`.
    pub fn print_stream_item(&self, message: &impl Name) -> anyhow::Result<Reader> {
        let text = if self.format == Format::Yaml {
            format!("---\n{}", self.documents.yaml(message)?)
        } else {
            self.documents.json_line(message)?
        };
        Ok(self.print(&text)?)
    }

    /// Are people the readers?
    pub fn is_for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }
}

/// `COLUMNS` if it is set, else the terminal's width, else that of a pipe.
fn terminal_width() -> usize {
    let from_environment = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let from_terminal = || {
        rustix::termios::tcgetwinsize(io::stdout())
            .ok()
            .map(|size| usize::from(size.ws_col))
    };
    from_environment
        .or_else(from_terminal)
        .filter(|columns| *columns > 0)
        .unwrap_or(PIPE_WIDTH)
}
