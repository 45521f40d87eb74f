//! Canonical JSON: one value has exactly one spelling, so that a signature over bytes is a signature over a value. Keys are
//! sorted by their bytes, there is no white space, strings are escaped only where JSON demands it, and numbers are integers
//! of 64 bits. It does not print floats: their shortest spelling is not the same everywhere, so they are refused.

use serde::Serialize;
use serde_json::Value;

/// Deepest nesting of arrays and maps. serde_json reads no deeper than 128, and the value sits a few levels below the top
/// of a manifest.
pub const MAX_DEPTH: usize = 64;

/// Where and why a value has no canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotCanonical {
    /// JSON pointer (RFC 6901) to the value.
    pub pointer: String,
    /// What is wrong there.
    pub problem: String,
}

/// The canonical bytes of `value`.
///
/// # Errors
/// [`NotCanonical`] when it holds a number that is not an integer of 64 bits, or is nested deeper than [`MAX_DEPTH`].
pub fn to_vec(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::new();
    write(value, &mut Vec::new(), &mut out)?;
    Ok(out)
}

/// The canonical bytes of anything serde can turn into a JSON value.
///
/// # Errors
/// As [`to_vec`], and when `value` does not serialise.
pub fn serialize<T: Serialize>(value: &T) -> Result<Vec<u8>, NotCanonical> {
    let value = serde_json::to_value(value).map_err(|error| NotCanonical {
        pointer: String::new(),
        problem: error.to_string(),
    })?;
    to_vec(&value)
}

fn write<'a>(
    value: &'a Value,
    at: &mut Vec<Step<'a>>,
    out: &mut Vec<u8>,
) -> Result<(), NotCanonical> {
    if at.len() > MAX_DEPTH {
        return Err(refuse(
            at,
            format!("is nested deeper than {MAX_DEPTH} levels"),
        ));
    }
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => Err(refuse(
            at,
            format!("{number} is not an integer of 64 bits; write it as a string"),
        )),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                at.push(Step::Index(index));
                write(item, at, out)?;
                at.pop();
            }
            out.push(b']');
            Ok(())
        }
        Value::Object(map) => {
            // Sorted here, not left to serde_json's map: its order depends on a feature that any crate may turn on.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_bytes());
            out.push(b'{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                scalar(&Value::String(key.clone()), out);
                out.push(b':');
                at.push(Step::Key(key));
                write(item, at, out)?;
                at.pop();
            }
            out.push(b'}');
            Ok(())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            scalar(value, out);
            Ok(())
        }
    }
}

/// serde_json writes a scalar without white space, and escapes `"`, `\` and control characters alone.
fn scalar(value: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(value.to_string().as_bytes());
}

enum Step<'a> {
    Index(usize),
    Key(&'a str),
}

fn refuse(at: &[Step<'_>], problem: String) -> NotCanonical {
    let mut pointer = String::new();
    for step in at {
        pointer.push('/');
        match step {
            Step::Index(index) => pointer.push_str(&index.to_string()),
            Step::Key(key) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
        }
    }
    NotCanonical { pointer, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_and_there_is_no_white_space() {
        let value = json!({"b": [1, -2, null], "a": {"z": true, "é": "\u{1}\"\\/\n", "Z": ""}, "": 18446744073709551615u64});
        let text = String::from_utf8(to_vec(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"":18446744073709551615,"a":{"Z":"","z":true,"é":"\u0001\"\\/\n"},"b":[1,-2,null]}"#
        );
    }

    #[test]
    fn a_float_is_refused_with_its_place() {
        let error = to_vec(&json!({"a": [0, {"b/c": 1.5}]})).unwrap_err();
        assert_eq!(error.pointer, "/a/1/b~1c");
        assert!(error.problem.contains("1.5"), "{}", error.problem);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut value = Value::Null;
        for _ in 0..=MAX_DEPTH {
            value = Value::Array(vec![value]);
        }
        assert!(to_vec(&value).unwrap_err().problem.contains("deeper"));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_json_reads_back_as_the_same_value_and_writes_the_same_bytes(value in values()) {
            let bytes = to_vec(&value).unwrap();
            let again: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&again, &value);
            prop_assert_eq!(to_vec(&again).unwrap(), bytes);
        }

        #[test]
        fn the_order_in_which_keys_were_written_does_not_show(entries in prop::collection::btree_map(any::<String>(), any::<i64>(), 0..8)) {
            let forward: serde_json::Map<String, Value> = entries.iter().map(|(k, v)| (k.clone(), Value::from(*v))).collect();
            let backward: serde_json::Map<String, Value> = entries.iter().rev().map(|(k, v)| (k.clone(), Value::from(*v))).collect();
            prop_assert_eq!(to_vec(&Value::Object(forward)).unwrap(), to_vec(&Value::Object(backward)).unwrap());
        }
    }
}
