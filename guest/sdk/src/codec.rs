//! Between bytes and an actor's types: postcard for states, messages and cookies, JSON for what people write (arguments,
//! `extra`, `describe`). Decoding is strict: bytes left over are an error, for a state or message read as the wrong type
//! should be noticed. Messages grow by new variants at the end of an enum; nothing else is compatible.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

/// What can be sent: any serde type, as postcard, or [`Raw`] bytes.
pub trait Message: Sized {
    /// The bytes that travel.
    fn encode(&self) -> Result<Vec<u8>, String>;
    /// The way back; all the bytes must be used.
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

impl<T: Serialize + DeserializeOwned> Message for T {
    fn encode(&self) -> Result<Vec<u8>, String> {
        encode(self)
    }
    fn decode(bytes: &[u8]) -> Result<T, String> {
        decode(bytes)
    }
}

/// A message that is its own bytes, for actors that speak to something other than this SDK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Raw(pub Vec<u8>);

impl Message for Raw {
    fn encode(&self) -> Result<Vec<u8>, String> {
        Ok(self.0.clone())
    }
    fn decode(bytes: &[u8]) -> Result<Raw, String> {
        Ok(Raw(bytes.to_vec()))
    }
}

/// The bytes of a message, timer, cookie or answer, decoded as the type that the handler expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body<'a>(pub &'a [u8]);

impl Body<'_> {
    /// Fails when the bytes are not exactly one `T`.
    pub fn decode<T: Message>(&self) -> Result<T, String> {
        T::decode(self.0)
    }
}

/// JSON as it came from a manifest or an order. Nothing at all reads as `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(pub &'a [u8]);

impl Json<'_> {
    /// Fails with serde's own words when the text is not JSON of this shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        let text = if self.0.is_empty() {
            b"null".as_slice()
        } else {
            self.0
        };
        serde_json::from_slice(text).map_err(|error| format!("not the expected JSON: {error}"))
    }
}

/// The arguments of an actor that takes none: whatever is given is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoArgs;

impl<'de> Deserialize<'de> for NoArgs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NoArgs, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| NoArgs)
    }
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!(
            "{} of {} bytes are left over",
            rest.len(),
            bytes.len()
        )),
        Err(error) => Err(format!("{} bytes do not decode: {error}", bytes.len())),
    }
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    encode_into(value, Vec::new())
}

/// Encodes into a buffer whose capacity is a guess; it grows when the guess was short.
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    buffer: Vec<u8>,
) -> Result<Vec<u8>, String> {
    postcard::to_extend(value, buffer).map_err(|error| format!("does not encode: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_left_over_are_an_error() {
        let bytes = encode(&(1_u64, 2_u64)).expect("encodes");
        assert_eq!(decode::<(u64, u64)>(&bytes), Ok((1, 2)));
        assert_eq!(
            decode::<u64>(&bytes),
            Err("1 of 2 bytes are left over".to_owned())
        );
    }

    #[test]
    fn raw_messages_are_their_own_bytes() {
        assert_eq!(Raw(vec![1, 2, 3]).encode(), Ok(vec![1, 2, 3]));
        assert_eq!(Body(&[4, 5]).decode::<Raw>(), Ok(Raw(vec![4, 5])));
    }

    #[test]
    fn no_json_reads_as_null_and_no_args_take_anything() {
        assert_eq!(Json(b"").decode::<Option<u64>>(), Ok(None));
        for text in ["", "{}", "null", "[1, {\"a\": 2}]"] {
            assert_eq!(Json(text.as_bytes()).decode::<NoArgs>(), Ok(NoArgs));
        }
        assert!(Json(b"{").decode::<NoArgs>().is_err());
    }
}
