//! The descriptors, as far as the JSON mapping needs them.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, MessageOptions,
    field_descriptor_proto::{Label, Type},
};

use super::wire::WireType;

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// The descriptors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// They are no descriptors.
    #[error("read the embedded descriptors")]
    Decode(#[from] prost::DecodeError),
    /// They use something that this contract does not.
    #[error("field {field} has a type that has no JSON form here")]
    Unsupported {
        /// Which one.
        field: String,
    },
}

#[derive(Debug, Default)]
pub(super) struct Schema {
    messages: HashMap<String, MessageShape>,
    enums: HashMap<String, HashMap<i32, String>>,
}

#[derive(Debug)]
pub(super) struct MessageShape {
    pub(super) fields: Vec<Field>,
    pub(super) is_timestamp: bool,
    by_number: HashMap<u32, usize>,
}

impl MessageShape {
    pub(super) fn index_of(&self, number: u32) -> Option<usize> {
        self.by_number.get(&number).copied()
    }
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) json_name: String,
    pub(super) cardinality: Cardinality,
    pub(super) kind: Kind,
    number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cardinality {
    /// There is always a value.
    Implicit,
    /// It may be absent: messages, `optional`, members of a oneof.
    Explicit,
    Repeated,
    Map,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int32,
    Uint32,
    Sint32,
    Fixed32,
    Sfixed32,
    Int64,
    Uint64,
    Sint64,
    Fixed64,
    Sfixed64,
    Bool,
    Float,
    Double,
    String,
    Bytes,
    Enum(String),
    Message(String),
}

impl Kind {
    pub(super) fn wire_type(&self) -> WireType {
        match self {
            Self::Fixed32 | Self::Sfixed32 | Self::Float => WireType::Fixed32,
            Self::Fixed64 | Self::Sfixed64 | Self::Double => WireType::Fixed64,
            Self::String | Self::Bytes | Self::Message(_) => WireType::Bytes,
            _ => WireType::Varint,
        }
    }

    pub(super) fn is_packable(&self) -> bool {
        self.wire_type() != WireType::Bytes
    }
}

impl Schema {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SchemaError> {
        let mut schema = Self::default();
        for file in FileDescriptorSet::decode(bytes)?.file {
            let package = file.package().to_owned();
            for one in &file.message_type {
                schema.add_message(&package, one)?;
            }
            for one in &file.enum_type {
                schema.add_enum(&package, one);
            }
        }
        Ok(schema)
    }

    pub(super) fn message(&self, name: &str) -> Option<&MessageShape> {
        self.messages.get(name)
    }

    pub(super) fn enum_value(&self, name: &str, number: i32) -> Option<&str> {
        self.enums.get(name)?.get(&number).map(String::as_str)
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) -> Result<(), SchemaError> {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.add_message(&name, nested)?;
        }
        for nested in &message.enum_type {
            self.add_enum(&name, nested);
        }
        let fields = message
            .field
            .iter()
            .map(|field| parse_field(&name, message, field))
            .collect::<Result<Vec<_>, _>>()?;
        let by_number = fields
            .iter()
            .enumerate()
            .map(|(index, field)| (field.number, index))
            .collect();
        let is_timestamp = name == TIMESTAMP;
        self.messages.insert(
            name,
            MessageShape {
                fields,
                is_timestamp,
                by_number,
            },
        );
        Ok(())
    }

    fn add_enum(&mut self, scope: &str, one: &EnumDescriptorProto) {
        let names = one
            .value
            .iter()
            .map(|value| (value.number(), value.name().to_owned()))
            .collect();
        self.enums.insert(format!("{scope}.{}", one.name()), names);
    }
}

fn parse_field(
    message: &str,
    parent: &DescriptorProto,
    field: &FieldDescriptorProto,
) -> Result<Field, SchemaError> {
    let unsupported = || SchemaError::Unsupported {
        field: format!("{message}.{}", field.name()),
    };
    // Names of types are absolute in compiled descriptors: ".package.Type".
    let type_name = field.type_name().trim_start_matches('.').to_owned();
    let kind = match field.r#type() {
        Type::Int32 => Kind::Int32,
        Type::Uint32 => Kind::Uint32,
        Type::Sint32 => Kind::Sint32,
        Type::Fixed32 => Kind::Fixed32,
        Type::Sfixed32 => Kind::Sfixed32,
        Type::Int64 => Kind::Int64,
        Type::Uint64 => Kind::Uint64,
        Type::Sint64 => Kind::Sint64,
        Type::Fixed64 => Kind::Fixed64,
        Type::Sfixed64 => Kind::Sfixed64,
        Type::Bool => Kind::Bool,
        Type::Float => Kind::Float,
        Type::Double => Kind::Double,
        Type::String => Kind::String,
        Type::Bytes => Kind::Bytes,
        Type::Enum => Kind::Enum(type_name),
        // Protobuf's own messages have JSON forms of their own, of which only one is needed.
        Type::Message if type_name.starts_with("google.protobuf.") && type_name != TIMESTAMP => {
            return Err(unsupported());
        }
        Type::Message => Kind::Message(type_name),
        Type::Group => return Err(unsupported()),
    };
    let is_map = parent.nested_type.iter().any(|nested| {
        is_map_entry(nested) && kind == Kind::Message(format!("{message}.{}", nested.name()))
    });
    let cardinality = match field.label() {
        _ if is_map => Cardinality::Map,
        Label::Repeated => Cardinality::Repeated,
        // Both halves of a map's entry are always there.
        _ if is_map_entry(parent) => Cardinality::Implicit,
        _ if matches!(kind, Kind::Message(_))
            || field.proto3_optional()
            || field.oneof_index.is_some() =>
        {
            Cardinality::Explicit
        }
        _ => Cardinality::Implicit,
    };
    Ok(Field {
        json_name: match field.json_name() {
            "" => camel_case(field.name()),
            name => name.to_owned(),
        },
        cardinality,
        kind,
        number: u32::try_from(field.number()).map_err(|_| unsupported())?,
    })
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message
        .options
        .as_ref()
        .is_some_and(MessageOptions::map_entry)
}

/// `last_report_at` → `lastReportAt`.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            camel.extend(letter.to_uppercase());
        } else {
            camel.push(letter);
        }
    }
    camel
}
