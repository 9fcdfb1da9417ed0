//! Protobuf's JSON mapping (protobuf.dev/programming-guides/json), driven by the descriptors.
//!
//! A message is encoded to its wire form and read back field by field with the descriptors that the build embeds, so every
//! message of the contract has its JSON form without a second definition that could disagree: `lowerCamelCase` names,
//! enumerations by name, 64-bit integers as strings, bytes in base64, timestamps in RFC 3339.
//!
//! Fields without presence are always written, also at their default, because a reader of a status wants to see the
//! zero; absent messages and absent `optional` fields are left out. Members stand in alphabetical order, so two answers
//! can be compared as text.

mod schema;
#[cfg(test)]
mod tests;
mod wire;

use std::ops::RangeInclusive;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::{Message as _, Name};
use serde_json::{Map, Number, Value};

use self::{
    schema::{Cardinality, Field, Kind, MessageShape, Schema},
    wire::{Raw, WireError},
};
use crate::v1;

pub use schema::SchemaError;

/// From the start of year 1 to the end of year 9999: what RFC 3339 has four digits for.
const WRITABLE_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A message has no JSON form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is not one of the contract.
    #[error("the contract has no message {name}")]
    Unknown {
        /// Its full name.
        name: String,
    },
    /// A timestamp is outside of the calendar.
    #[error("{seconds} s and {nanos} ns after 1970 is no time in the years 1 to 9999")]
    NoSuchTime {
        /// Its seconds.
        seconds: i64,
        /// Its nanoseconds, 0 to 999,999,999 in a good one.
        nanos: i32,
    },
    /// Its bytes and the descriptors disagree. Cannot happen with messages and descriptors of one build.
    #[error("the message is not what the descriptors say")]
    Mismatch,
}

impl From<WireError> for JsonError {
    fn from(_: WireError) -> Self {
        Self::Mismatch
    }
}

/// Writes messages of the contract as JSON.
#[derive(Debug)]
pub struct JsonWriter {
    schema: Schema,
}

impl JsonWriter {
    /// Reads the descriptors of the contract. Once is enough.
    pub fn new() -> Result<Self, SchemaError> {
        Self::from_descriptors(v1::FILE_DESCRIPTOR_SET)
    }

    fn from_descriptors(file_descriptor_set: &[u8]) -> Result<Self, SchemaError> {
        Ok(Self {
            schema: Schema::parse(file_descriptor_set)?,
        })
    }

    /// The JSON form of a message of the contract.
    pub fn write<M: Name>(&self, message: &M) -> Result<Value, JsonError> {
        let name = M::full_name();
        let Some(shape) = self.schema.message(&name) else {
            return Err(JsonError::Unknown { name });
        };
        self.object(shape, &message.encode_to_vec())
    }

    fn object(&self, shape: &MessageShape, bytes: &[u8]) -> Result<Value, JsonError> {
        if shape.is_timestamp {
            return timestamp(bytes);
        }
        let mut found: Vec<Vec<Raw<'_>>> = vec![Vec::new(); shape.fields.len()];
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, raw) = wire::field(&mut rest)?;
            // Unknown fields have no JSON form.
            if let Some(index) = shape.index_of(number) {
                found[index].push(raw);
            }
        }
        let mut object = Map::new();
        for (field, raws) in shape.fields.iter().zip(found) {
            if let Some(value) = self.field(field, &raws)? {
                object.insert(field.json_name.clone(), value);
            }
        }
        Ok(Value::Object(object))
    }

    fn field(&self, field: &Field, raws: &[Raw<'_>]) -> Result<Option<Value>, JsonError> {
        Ok(match field.cardinality {
            Cardinality::Repeated => {
                let mut values = Vec::new();
                for raw in raws {
                    match raw {
                        // Numbers may be packed into one record, several records, or none.
                        Raw::Bytes(bytes) if field.kind.is_packable() => {
                            let mut rest = *bytes;
                            while !rest.is_empty() {
                                let raw = wire::packed(&mut rest, field.kind.wire_type())?;
                                values.push(self.value(&field.kind, &raw)?);
                            }
                        }
                        raw => values.push(self.value(&field.kind, raw)?),
                    }
                }
                Some(Value::Array(values))
            }
            Cardinality::Map => {
                let mut map = Map::new();
                for raw in raws {
                    let Value::Object(mut pair) = self.value(&field.kind, raw)? else {
                        return Err(JsonError::Mismatch);
                    };
                    let (Some(key), Some(value)) = (pair.remove("key"), pair.remove("value"))
                    else {
                        return Err(JsonError::Mismatch);
                    };
                    let key = match key {
                        Value::String(text) => text,
                        number_or_bool => number_or_bool.to_string(),
                    };
                    map.insert(key, value);
                }
                Some(Value::Object(map))
            }
            Cardinality::Implicit => match raws.last() {
                Some(raw) => Some(self.value(&field.kind, raw)?),
                None => Some(self.default(&field.kind)?),
            },
            Cardinality::Explicit => match raws.last() {
                Some(raw) => Some(self.value(&field.kind, raw)?),
                None => None,
            },
        })
    }

    fn value(&self, kind: &Kind, raw: &Raw<'_>) -> Result<Value, JsonError> {
        Ok(match (kind, raw) {
            (Kind::Int32, Raw::Varint(bits)) => Value::from(*bits as i32),
            (Kind::Uint32, Raw::Varint(bits)) => Value::from(*bits as u32),
            (Kind::Sint32, Raw::Varint(bits)) => Value::from(wire::zigzag(*bits) as i32),
            (Kind::Fixed32, Raw::Fixed32(bits)) => Value::from(*bits),
            (Kind::Sfixed32, Raw::Fixed32(bits)) => Value::from(*bits as i32),
            (Kind::Int64, Raw::Varint(bits)) | (Kind::Sfixed64, Raw::Fixed64(bits)) => {
                Value::from((*bits as i64).to_string())
            }
            (Kind::Uint64, Raw::Varint(bits)) | (Kind::Fixed64, Raw::Fixed64(bits)) => {
                Value::from(bits.to_string())
            }
            (Kind::Sint64, Raw::Varint(bits)) => Value::from(wire::zigzag(*bits).to_string()),
            (Kind::Bool, Raw::Varint(bits)) => Value::from(*bits != 0),
            (Kind::Float, Raw::Fixed32(bits)) => single(f32::from_bits(*bits)),
            (Kind::Double, Raw::Fixed64(bits)) => float(f64::from_bits(*bits)),
            (Kind::String, Raw::Bytes(bytes)) => {
                Value::from(String::from_utf8_lossy(bytes).into_owned())
            }
            (Kind::Bytes, Raw::Bytes(bytes)) => Value::from(STANDARD.encode(bytes)),
            (Kind::Enum(name), Raw::Varint(bits)) => {
                let number = *bits as i32;
                // A number without a name is written as the number.
                self.schema
                    .enum_value(name, number)
                    .map_or_else(|| Value::from(number), Value::from)
            }
            (Kind::Message(name), Raw::Bytes(bytes)) => {
                self.object(self.schema.message(name).ok_or(JsonError::Mismatch)?, bytes)?
            }
            _ => return Err(JsonError::Mismatch),
        })
    }

    fn default(&self, kind: &Kind) -> Result<Value, JsonError> {
        Ok(match kind {
            Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32 | Kind::Sfixed32 => {
                Value::from(0)
            }
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => {
                Value::from("0")
            }
            Kind::Bool => Value::from(false),
            Kind::Float | Kind::Double => float(0.0),
            Kind::String | Kind::Bytes => Value::from(""),
            Kind::Enum(name) => self
                .schema
                .enum_value(name, 0)
                .map_or_else(|| Value::from(0), Value::from),
            // The value of a map's entry: it is there even if nothing of it is on the wire.
            Kind::Message(_) => self.value(kind, &Raw::Bytes(&[]))?,
        })
    }
}

/// JSON has no words for these three; the mapping has strings.
fn float(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::from("NaN"),
        None if number > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

/// The shortest digits that mean this number in single precision, not those of its double.
fn single(number: f32) -> Value {
    float(
        number
            .to_string()
            .parse()
            .unwrap_or_else(|_| f64::from(number)),
    )
}

/// RFC 3339 in UTC with 0, 3, 6 or 9 digits of fraction, which is how [`prost_types::Timestamp`] displays itself.
fn timestamp(bytes: &[u8]) -> Result<Value, JsonError> {
    let at = prost_types::Timestamp::decode(bytes).map_err(|_| JsonError::Mismatch)?;
    if !WRITABLE_SECONDS.contains(&at.seconds) || !(0..1_000_000_000).contains(&at.nanos) {
        let prost_types::Timestamp { seconds, nanos } = at;
        return Err(JsonError::NoSuchTime { seconds, nanos });
    }
    Ok(Value::from(at.to_string()))
}
