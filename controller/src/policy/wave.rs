//! One wave of a policy: `1`, `25%`, `canaries:&eu`, or a mapping with `nodes` and a `bake` of its own.

use std::fmt;

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
        }
        struct WaveVisitor;
        impl<'de> Visitor<'de> for WaveVisitor {
            type Value = WaveSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a wave: 1, 25%, a pattern, or a mapping with nodes and bake")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<WaveSpec, E> {
                SizeVisitor
                    .visit_u64(number)
                    .map(|nodes| WaveSpec { nodes, bake: None })
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<WaveSpec, E> {
                SizeVisitor
                    .visit_i64(number)
                    .map(|nodes| WaveSpec { nodes, bake: None })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WaveSpec, E> {
                SizeVisitor
                    .visit_str(text)
                    .map(|nodes| WaveSpec { nodes, bake: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WaveSpec, A::Error> {
                let Mapping { nodes, bake } =
                    Mapping::deserialize(MapAccessDeserializer::new(map))?;
                Ok(WaveSpec { nodes, bake })
            }
        }
        deserializer.deserialize_any(WaveVisitor)
    }
}
