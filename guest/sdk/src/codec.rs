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
    /// `encode` into a buffer that has room already.
    fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(&self.encode()?);
        Ok(())
    }
}

impl<T: Serialize + DeserializeOwned> Message for T {
    fn encode(&self) -> Result<Vec<u8>, String> {
        encode(self)
    }
    fn decode(bytes: &[u8]) -> Result<T, String> {
        decode(bytes)
    }
    fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), String> {
        encode_into(self, out)
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
    fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(&self.0);
        Ok(())
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
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes)?;
    Ok(bytes)
}

/// Appends the value's bytes; after an error a part of them.
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    postcard::serialize_with_flavor(value, Append(out))
        .map_err(|error| format!("does not encode: {error}"))
}

/// postcard's own way to a `Vec` appends byte by byte.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
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
