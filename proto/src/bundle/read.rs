//! From a file to pictures. Nothing in it is trusted: not its lengths, not its numbers, not that it ends.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use meshprobe_core::diagnosis::{Columns, HostFacts, Topology};
use serde_json::Value;

use super::{
    Bundle, BundleError, FORMAT, Manifest, PackedLayer, PackedPicture, VERSION,
    lines::{LayerLine, Line, PictureLine},
    picture::PackedFacts,
};
use crate::pack;

/// How much memory a file may cost whoever reads it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest line, octets: what is known of all nodes at one moment.
    pub line_octets: usize,
    /// All lines together: bounds the time.
    pub expanded_octets: u64,
    /// What is kept of them: bounds the memory.
    pub kept_octets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_octets: 32 << 20,
            expanded_octets: 4 << 30,
            kept_octets: 512 << 20,
        }
    }
}

/// Longest line whose shape is the API's.
const MOST_FREE_OCTETS: usize = 4 << 20;
/// Layers of a picture: every kind on every plane in both families.
const MOST_LAYERS: usize = 72;

/// Reads a bundle.
pub fn read(from: impl Read, limits: Limits) -> Result<Bundle, BundleError> {
    let mut lines = Lines::new(from, limits)?;
    let manifest = lines.manifest()?;
    let mut reading = Reading {
        bundle: Bundle {
            manifest,
            incident: Value::Null,
            pictures: Vec::new(),
        },
        topologies: HashMap::new(),
        columns: HashMap::new(),
        facts: HashMap::new(),
        rows: HashMap::new(),
        room: limits.kept_octets,
    };
    loop {
        let (number, octets) = (lines.number, lines.next()?);
        let Some(octets) = octets else {
            return Err(lines.damaged("it ends too early"));
        };
        let line = parse(octets).map_err(|reason| BundleError::Damaged {
            line: number + 1,
            reason,
        })?;
        if let Line::End { lines: said } = line {
            if said != number {
                return Err(lines.damaged("lines are missing"));
            }
            return match lines.next()? {
                None => reading.finish(number + 1),
                Some(_) => Err(lines.damaged("there is something after its end")),
            };
        }
        let length = octets.len();
        reading.take(line, length).map_err(|error| match error {
            Refused::Reason(reason) => BundleError::Damaged {
                line: number + 1,
                reason: reason.to_owned(),
            },
            Refused::NoRoom => BundleError::TooLarge("its pictures do not fit into memory"),
        })?;
    }
}

/// What zstd files begin with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A file of which the first octets were looked at.
type Begun<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// The lines of a file.
struct Lines<R: Read> {
    from: BufReader<zstd::stream::read::Decoder<'static, BufReader<Begun<R>>>>,
    line: Vec<u8>,
    /// Lines that were read.
    number: u64,
    limits: Limits,
    left: u64,
}

impl<R: Read> Lines<R> {
    fn new(mut from: R, limits: Limits) -> Result<Self, BundleError> {
        let mut begin = Vec::with_capacity(MAGIC.len());
        (&mut from)
            .take(MAGIC.len() as u64)
            .read_to_end(&mut begin)
            .map_err(BundleError::Io)?;
        if begin != MAGIC {
            return Err(BundleError::Foreign(
                "it is not compressed by zstd".to_owned(),
            ));
        }
        let from = io::Cursor::new(begin).chain(from);
        let mut decoder = zstd::stream::read::Decoder::new(from).map_err(BundleError::Io)?;
        decoder.window_log_max(24).map_err(BundleError::Io)?;
        Ok(Self {
            from: BufReader::new(decoder),
            line: Vec::new(),
            number: 0,
            limits,
            left: limits.expanded_octets,
        })
    }

    /// The next line, without its end; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<&[u8]>, BundleError> {
        self.line.clear();
        let most = self.limits.line_octets as u64 + 1;
        let read = (&mut self.from)
            .take(most)
            .read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| self.refused(error))? as u64;
        if read == 0 {
            return Ok(None);
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() && read == most {
            return Err(BundleError::TooLarge("one of its lines is too long"));
        }
        self.left = self
            .left
            .checked_sub(read)
            .ok_or(BundleError::TooLarge("it expands to too many octets"))?;
        self.number += 1;
        Ok(Some(&self.line))
    }

    /// The first line. If it does not say what the file is, the file is something else.
    fn manifest(&mut self) -> Result<Manifest, BundleError> {
        let foreign = |reason: &str| BundleError::Foreign(reason.to_owned());
        let line = self.next()?.ok_or_else(|| foreign("it is empty"))?;
        let value: Value =
            serde_json::from_slice(line).map_err(|_| foreign("its first line is no JSON"))?;
        let manifest = &value["bundle"];
        if manifest["format"] != FORMAT {
            return Err(foreign("its first line does not say so"));
        }
        let found = manifest["version"]
            .as_u64()
            .and_then(|v| u32::try_from(v).ok());
        match found {
            Some(VERSION) => {}
            Some(found) => {
                let meshprobe = manifest["meshprobe"].as_str().unwrap_or("unknown");
                return Err(BundleError::Version {
                    found,
                    meshprobe: meshprobe.chars().take(100).collect(),
                });
            }
            None => return Err(foreign("its first line names no version")),
        }
        serde_json::from_value(manifest.clone()).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, reason: &str) -> BundleError {
        BundleError::Damaged {
            line: self.number,
            reason: reason.to_owned(),
        }
    }

    /// The decompressor says what is wrong with its input by errors of no or another kind, files by their own.
    fn refused(&self, error: io::Error) -> BundleError {
        if error.raw_os_error().is_some() {
            return BundleError::Io(error);
        }
        BundleError::Damaged {
            line: self.number + 1,
            reason: error.to_string(),
        }
    }
}

fn parse(octets: &[u8]) -> Result<Line, String> {
    // JSON of no fixed shape takes many times its length in memory.
    let is_free = octets.starts_with(b"{\"incident\"");
    let is_fixed = [
        &b"{\"row\""[..],
        b"{\"picture\"",
        b"{\"facts\"",
        b"{\"topology\"",
        b"{\"columns\"",
        b"{\"end\"",
    ]
    .iter()
    .any(|kind| octets.starts_with(kind));
    if !(is_fixed || is_free && octets.len() <= MOST_FREE_OCTETS) {
        return Err("it is no line of a bundle, or too long for one of its kind".to_owned());
    }
    serde_json::from_slice(octets).map_err(|error| {
        // The column alone: the line is ours to count.
        format!("column {}: it is no line of a bundle", error.column())
    })
}

enum Refused {
    Reason(&'static str),
    NoRoom,
}

/// What was read so far.
struct Reading {
    bundle: Bundle,
    topologies: HashMap<usize, Arc<Topology>>,
    columns: HashMap<usize, Arc<Columns>>,
    facts: HashMap<usize, Arc<HostFacts>>,
    rows: HashMap<usize, Arc<[u8]>>,
    /// Octets that may still be kept.
    room: usize,
}

impl Reading {
    fn take(&mut self, line: Line, octets: usize) -> Result<(), Refused> {
        // A line in memory is at most some four times its text; rows are smaller than their text.
        let kept = match &line {
            Line::Row { cells, .. } => cells.len(),
            _ => octets.saturating_mul(4),
        };
        self.room = self.room.checked_sub(kept).ok_or(Refused::NoRoom)?;
        match line {
            Line::Bundle(_) => return Err(Refused::Reason("it begins a second time")),
            Line::End { .. } => {}
            Line::Incident(incident) => self.bundle.incident = incident,
            Line::Topology { number, topology } => {
                self.topologies.insert(number, topology);
            }
            Line::Columns { number, columns } => {
                self.columns.insert(number, Arc::new(columns));
            }
            Line::Facts { number, facts } => {
                self.facts.insert(number, facts);
            }
            Line::Row { number, cells } => {
                let row = BASE64_STANDARD
                    .decode(cells)
                    .map_err(|_| Refused::Reason("a row is no base64"))?;
                self.rows.insert(number, row.into());
            }
            Line::Picture(picture) => {
                let picture = self.picture(picture)?;
                self.room = self
                    .room
                    .checked_sub(picture.frame_octets())
                    .ok_or(Refused::NoRoom)?;
                self.bundle.pictures.push(picture);
            }
        }
        Ok(())
    }

    fn picture(&self, line: PictureLine) -> Result<PackedPicture, Refused> {
        let PictureLine {
            at,
            now,
            topology,
            nodes,
            facts,
            layers,
            traces,
            findings,
        } = line;
        let topology = self.topologies.get(&topology).ok_or(Refused::Reason(
            "a picture has a topology that is not there",
        ))?;
        if layers.len() > MOST_LAYERS {
            return Err(Refused::Reason("a picture has too many layers"));
        }
        let said = |(node, prober, number): (usize, usize, usize)| {
            let facts = self
                .facts
                .get(&number)
                .ok_or(Refused::Reason("a picture has facts that are not there"))?;
            Ok(PackedFacts {
                node,
                prober,
                facts: Arc::clone(facts),
            })
        };
        let layer = |line: LayerLine| {
            let columns = self
                .columns
                .get(&line.columns)
                .ok_or(Refused::Reason("a layer has columns that are not there"))?;
            if line.rows.len() > topology.nodes.len() {
                return Err(Refused::Reason(
                    "a layer has more rows than there are nodes",
                ));
            }
            let row = |number: Option<usize>| match number {
                None => Ok(None),
                Some(number) => match self.rows.get(&number) {
                    Some(row) => Ok(Some(Arc::clone(row))),
                    None => Err(Refused::Reason("a layer has a row that is not there")),
                },
            };
            Ok(PackedLayer {
                layer: line.layer,
                interval: line.interval,
                columns: Arc::clone(columns),
                rows: line.rows.into_iter().map(row).collect::<Result<_, _>>()?,
            })
        };
        let known = serde_json::to_vec(&(nodes, traces))
            .map_err(|_| Refused::Reason("the nodes of a picture cannot be kept"))?;
        Ok(PackedPicture {
            at,
            now,
            topology: Arc::clone(topology),
            layers: layers.into_iter().map(layer).collect::<Result<_, _>>()?,
            findings: findings.into(),
            known: pack::compress(&known, 1).into(),
            facts: facts.into_iter().map(said).collect::<Result<_, _>>()?,
        })
    }

    fn finish(self, line: u64) -> Result<Bundle, BundleError> {
        let Manifest { pictures, .. } = self.bundle.manifest;
        if pictures != self.bundle.pictures.len() {
            return Err(BundleError::Damaged {
                line,
                reason: format!(
                    "it should have {pictures} pictures and has {}",
                    self.bundle.pictures.len()
                ),
            });
        }
        Ok(self.bundle)
    }
}
