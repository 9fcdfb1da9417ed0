//! Protobuf's JSON mapping (protobuf.dev/programming-guides/json), driven by the descriptors.
//!
//! A message is encoded to its wire form and read back field by field with the descriptors that the build embeds, so every
//! message of the contract has its JSON form without a second definition that could disagree: `lowerCamelCase` names,
//! enumerations by name, 64-bit integers as strings, bytes in base64, timestamps in RFC 3339.
//!
//! Fields without presence are always written, also at their default, because a reader of a status wants to see the
//! zero; absent messages and absent `optional` fields are left out.

mod schema;
#[cfg(test)]
mod tests;
mod wire;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;
use serde_json::{Map, Number, Value};

use self::{
    schema::{Cardinality, Field, Kind, MessageShape, Schema},
    wire::{Raw, WireError},
};

pub use schema::SchemaError;

/// Writes messages of the contract as JSON.
#[derive(Debug)]
pub struct JsonWriter {
    schema: Schema,
}

impl JsonWriter {
    /// Reads the descriptors.
    pub fn new(file_descriptor_set: &[u8]) -> Result<Self, SchemaError> {
        Ok(Self {
            schema: Schema::parse(file_descriptor_set)?,
        })
    }

    /// The JSON form of a message whose type is called `name`, for example `meshprobe.v1.Status`.
    ///
    /// `None` if the descriptors do not have that type, or describe it otherwise than the message is.
    pub fn write(&self, name: &str, message: &impl Message) -> Option<Value> {
        let shape = self.schema.message(name)?;
        self.object(shape, &message.encode_to_vec()).ok()
    }

    fn object(&self, shape: &MessageShape, bytes: &[u8]) -> Result<Value, WireError> {
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

    fn field(&self, field: &Field, raws: &[Raw<'_>]) -> Result<Option<Value>, WireError> {
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
                let Kind::Message(entry) = &field.kind else {
                    return Err(WireError::Mismatch);
                };
                let entry = self.schema.message(entry).ok_or(WireError::Mismatch)?;
                let mut map = Map::new();
                for raw in raws {
                    let Raw::Bytes(bytes) = raw else {
                        return Err(WireError::Mismatch);
                    };
                    let Value::Object(mut pair) = self.object(entry, bytes)? else {
                        return Err(WireError::Mismatch);
                    };
                    let key = match pair.remove("key") {
                        Some(Value::String(text)) => text,
                        Some(other) => other.to_string(),
                        None => String::new(),
                    };
                    map.insert(key, pair.remove("value").unwrap_or(Value::Null));
                }
                Some(Value::Object(map))
            }
            Cardinality::Implicit => match raws.last() {
                Some(raw) => Some(self.value(&field.kind, raw)?),
                None => Some(self.default(&field.kind)),
            },
            Cardinality::Explicit => match raws.last() {
                Some(raw) => Some(self.value(&field.kind, raw)?),
                None => None,
            },
        })
    }

    fn value(&self, kind: &Kind, raw: &Raw<'_>) -> Result<Value, WireError> {
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
            (Kind::Float, Raw::Fixed32(bits)) => float(f64::from(f32::from_bits(*bits))),
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
                self.object(self.schema.message(name).ok_or(WireError::Mismatch)?, bytes)?
            }
            _ => return Err(WireError::Mismatch),
        })
    }

    fn default(&self, kind: &Kind) -> Value {
        match kind {
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
            // Messages have presence; this is the value of a map entry without one.
            Kind::Message(_) => Value::Object(Map::new()),
        }
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

/// RFC 3339 in UTC with 0, 3, 6 or 9 digits of fraction.
fn timestamp(bytes: &[u8]) -> Result<Value, WireError> {
    let prost_types::Timestamp { seconds, nanos } =
        prost_types::Timestamp::decode(bytes).map_err(|_| WireError::Mismatch)?;
    let at = jiff::Timestamp::new(seconds, nanos).map_err(|_| WireError::Mismatch)?;
    let digits = match nanos {
        0 => 0,
        n if n % 1_000_000 == 0 => 3,
        n if n % 1_000 == 0 => 6,
        _ => 9,
    };
    Ok(Value::from(format!("{at:.digits$}")))
}
