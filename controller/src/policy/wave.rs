//! One wave of a policy: `1`, `25%`, `canaries:&eu`, or a mapping with `nodes`, a `bake` of its own, and a label over whose values
//! its nodes are spread.

use std::fmt;

use midflight_inventory::{Host, Value};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::policy::amount::{Amount, Span};

/// One wave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaveSpec {
    /// Which nodes have the patch after it.
    pub nodes: WaveSize,
    /// How long it runs the new code before its gate; `None`: as the policy says.
    pub bake: Option<Span>,
    /// Its nodes are taken in turn from the hosts with each value of this label; `None`: in the order of the inventory.
    pub spread: Option<Label>,
}

impl From<WaveSize> for WaveSpec {
    /// With the policy's bake, in the order of the inventory.
    fn from(nodes: WaveSize) -> Self {
        Self {
            nodes,
            bake: None,
            spread: None,
        }
    }
}

/// What hosts are told apart by: `zone`, which is the host's zone, or the name of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// The host's zone.
    #[must_use]
    pub fn zone() -> Self {
        Self("zone".to_owned())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value that a host has; `None` when it has none, or one that is no single word or number.
    #[must_use]
    pub fn of(&self, host: &Host) -> Option<String> {
        if self.0 == "zone"
            && let Some(zone) = host.zone()
        {
            return Some(zone.to_owned());
        }
        match host.var(&self.0)? {
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }
}

impl TryFrom<String> for Label {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if !text.is_empty() && text.len() <= 100 && text.bytes().all(fits) {
            return Ok(Self(text));
        }
        Err(format!(
            "`{text}` is no label; write zone, or the name of a variable of the hosts"
        ))
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

/// Which nodes have the patch after a wave, those of the waves before included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaveSize {
    /// So many, in the order of the inventory.
    UpTo(Amount),
    /// Those that the pattern names, beside those of the waves before.
    Pattern(String),
}

impl fmt::Display for WaveSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpTo(amount) => amount.fmt(f),
            Self::Pattern(pattern) => f.write_str(pattern),
        }
    }
}

/// Text that looks like an amount is one; all other text is a pattern.
fn size_of(text: &str) -> Result<WaveSize, String> {
    if text.is_empty() {
        return Err("an empty pattern names no nodes".to_owned());
    }
    if text.ends_with('%') || text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(WaveSize::UpTo);
    }
    Ok(WaveSize::Pattern(text.to_owned()))
}

impl Serialize for WaveSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::UpTo(amount) => amount.serialize(serializer),
            Self::Pattern(pattern) => serializer.serialize_str(pattern),
        }
    }
}

impl Serialize for WaveSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("nodes", &self.nodes)?;
        if let Some(bake) = &self.bake {
            map.serialize_entry("bake", bake)?;
        }
        if let Some(spread) = &self.spread {
            map.serialize_entry("spread", spread)?;
        }
        map.end()
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = WaveSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of nodes, a share such as 25%, or a pattern")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<WaveSize, E> {
        let nodes =
            u32::try_from(number).map_err(|_| E::custom(format!("{number} nodes are too many")))?;
        Ok(WaveSize::UpTo(Amount::Nodes(nodes)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<WaveSize, E> {
        let number = u64::try_from(number)
            .map_err(|_| E::custom(format!("{number} is no number of nodes")))?;
        self.visit_u64(number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<WaveSize, E> {
        size_of(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for WaveSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for WaveSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Mapping {
            nodes: WaveSize,
            bake: Option<Span>,
            spread: Option<Label>,
        }
        struct WaveVisitor;
        impl<'de> Visitor<'de> for WaveVisitor {
            type Value = WaveSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a wave: 1, 25%, a pattern, or a mapping with nodes, bake and spread")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<WaveSpec, E> {
                SizeVisitor.visit_u64(number).map(WaveSpec::from)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<WaveSpec, E> {
                SizeVisitor.visit_i64(number).map(WaveSpec::from)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WaveSpec, E> {
                SizeVisitor.visit_str(text).map(WaveSpec::from)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WaveSpec, A::Error> {
                let Mapping {
                    nodes,
                    bake,
                    spread,
                } = Mapping::deserialize(MapAccessDeserializer::new(map))?;
                Ok(WaveSpec {
                    nodes,
                    bake,
                    spread,
                })
            }
        }
        deserializer.deserialize_any(WaveVisitor)
    }
}
