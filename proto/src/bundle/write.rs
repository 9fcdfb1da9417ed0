//! From pictures to a file.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{
    Bundle,
    lines::{LayerLine, Line, PictureLine},
};

/// Rows are compressed already; the level is for the texts around them.
const LEVEL: i32 = 3;

/// Writes a bundle and gives the writer back.
pub fn write<W: Write>(bundle: &Bundle, to: W) -> io::Result<W> {
    let Bundle {
        manifest,
        incident,
        pictures,
    } = bundle;
    let mut encoder = zstd::stream::write::Encoder::new(to, LEVEL)?;
    // The reader finds out that octets were changed on the way.
    encoder.include_checksum(true)?;
    let mut lines = Lines {
        encoder,
        count: 0,
        numbers: Numbers::default(),
    };
    let mut manifest = manifest.clone();
    manifest.pictures = pictures.len();
    lines.line(&Line::Bundle(manifest))?;
    if *incident != Value::Null {
        lines.line(&Line::Incident(incident.clone()))?;
    }
    for picture in pictures {
        let topology = match lines.numbers.of(&picture.topology) {
            Number::Known(number) => number,
            Number::New(number) => {
                let topology = Arc::clone(&picture.topology);
                lines.line(&Line::Topology { number, topology })?;
                number
            }
        };
        let mut facts = Vec::with_capacity(picture.facts.len());
        for said in &picture.facts {
            let number = match lines.numbers.of(&said.facts) {
                Number::Known(number) => number,
                Number::New(number) => {
                    let facts = Arc::clone(&said.facts);
                    lines.line(&Line::Facts { number, facts })?;
                    number
                }
            };
            facts.push((said.node, said.prober, number));
        }
        let mut layers = Vec::with_capacity(picture.layers.len());
        for layer in &picture.layers {
            let columns = match lines.numbers.of(&layer.columns) {
                Number::Known(number) => number,
                Number::New(number) => {
                    let columns = (*layer.columns).clone();
                    lines.line(&Line::Columns { number, columns })?;
                    number
                }
            };
            let mut rows = Vec::with_capacity(layer.rows.len());
            for row in &layer.rows {
                let Some(row) = row else {
                    rows.push(None);
                    continue;
                };
                rows.push(Some(match lines.numbers.of(row) {
                    Number::Known(number) => number,
                    Number::New(number) => {
                        let cells = BASE64_STANDARD.encode(row);
                        lines.line(&Line::Row { number, cells })?;
                        number
                    }
                }));
            }
            layers.push(LayerLine {
                layer: layer.layer,
                interval: layer.interval,
                columns,
                rows,
            });
        }
        let (nodes, traces) = picture.known().map_err(io::Error::other)?;
        lines.line(&Line::Picture(PictureLine {
            at: picture.at,
            now: picture.now,
            topology,
            nodes,
            facts,
            layers,
            traces,
            findings: picture.findings.to_vec(),
        }))?;
    }
    let count = lines.count;
    lines.line(&Line::End { lines: count })?;
    lines.encoder.finish()
}

struct Lines<W: Write> {
    encoder: zstd::stream::write::Encoder<'static, W>,
    count: u64,
    numbers: Numbers,
}

impl<W: Write> Lines<W> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut octets = serde_json::to_vec(line).map_err(io::Error::other)?;
        octets.push(b'\n');
        self.count += 1;
        self.encoder.write_all(&octets)
    }
}

/// The numbers of what was written, by where it is in memory. The bundle keeps all of it alive, so no place is used twice.
#[derive(Default)]
struct Numbers(HashMap<usize, usize>);

enum Number {
    Known(usize),
    New(usize),
}

impl Numbers {
    fn of<T: ?Sized>(&mut self, part: &Arc<T>) -> Number {
        let next = self.0.len();
        match self.0.entry(Arc::as_ptr(part).cast::<()>().addr()) {
            std::collections::hash_map::Entry::Occupied(known) => Number::Known(*known.get()),
            std::collections::hash_map::Entry::Vacant(place) => Number::New(*place.insert(next)),
        }
    }
}
