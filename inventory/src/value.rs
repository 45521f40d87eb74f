//! The value of a variable: what YAML and JSON have in common.
//!
//! Values are carried, never interpreted: the inventory reads no meaning into a variable. Mappings have text keys and
//! are kept in key order, so that the same inventory always serialises to the same bytes.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A parsed value. Integers outside the 64-bit ranges are read as floats, as JSON readers do.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~`, or nothing.
    Null,
    /// `true` or `false`; `yes`, `no`, `on` and `off` are text, as YAML 1.2 has it.
    Bool(bool),
    /// A whole number from `i64::MIN` to `u64::MAX`.
    Int(i128),
    /// A finite number with a fraction or an exponent.
    Float(f64),
    /// Text. Numbers with a leading zero (`0755`) or with underscores are text too.
    Text(String),
    /// A sequence.
    List(Vec<Value>),
    /// A mapping.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// The text, if this is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entry of a mapping, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(map) => map.get(key),
            _ => None,
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_i64(value),
                (_, Ok(value)) => serializer.serialize_u64(value),
                _ => serializer.serialize_i128(*value),
            },
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            Value::List(values) => serializer.collect_seq(values),
            Value::Map(map) => serializer.collect_map(map),
        }
    }
}
