//! How values are written: numbers little-endian in their own width, lengths and counts as 32 bits, one byte for which
//! variant, nothing between. A value has one form: what decodes encodes to the same bytes. Reading is strict.

use std::fmt;
use std::sync::Arc;

/// The first byte of every frame. Another number is another format.
pub const VERSION: u8 = 1;

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The frame ends inside a value.
    Truncated,
    /// So many bytes follow the value.
    Trailing(usize),
    /// It starts with another version's byte.
    Version(u8),
    /// No such variant.
    Tag {
        /// Of what.
        what: &'static str,
        /// The byte found.
        tag: u8,
    },
    /// Text that is not UTF-8.
    Utf8,
    /// A list longer than the reader takes.
    TooMany {
        /// Items that the list claims.
        count: u32,
        /// Items that are taken.
        bound: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Truncated => f.write_str("the frame ends inside a value"),
            FrameError::Trailing(bytes) => write!(f, "{bytes} bytes follow the value"),
            FrameError::Version(found) => {
                write!(f, "a frame of version {found}; this is version {VERSION}")
            }
            FrameError::Tag { what, tag } => write!(f, "{tag} is no {what}"),
            FrameError::Utf8 => f.write_str("text that is not UTF-8"),
            FrameError::TooMany { count, bound } => {
                write!(f, "a list of {count} items; at most {bound} are taken")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// A value that has a form in a frame. `'a` is the frame that borrowed values point into.
pub trait Wire<'a>: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads the value.
    ///
    /// # Errors
    /// When the bytes at hand are not one.
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError>;
}

/// Writes a frame of one value, in the place of what `out` held.
pub fn encode<'a>(value: &impl Wire<'a>, out: &mut Vec<u8>) {
    out.clear();
    out.push(VERSION);
    value.put(out);
}

/// Reads a frame of exactly one value, no list in which has more than `bound` items.
///
/// # Errors
/// When the bytes are anything else.
pub fn decode<'a, T: Wire<'a>>(frame: &'a [u8], bound: u32) -> Result<T, FrameError> {
    let mut reader = Reader::new(frame, bound)?;
    let value = T::take(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// A place in a frame.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    bound: u32,
}

impl<'a> Reader<'a> {
    /// Behind the version of a frame. Lists of more than `bound` items are refused.
    ///
    /// # Errors
    /// When the frame is of another version, or empty.
    pub fn new(frame: &'a [u8], bound: u32) -> Result<Self, FrameError> {
        let mut reader = Reader { rest: frame, bound };
        match reader.byte()? {
            VERSION => Ok(reader),
            other => Err(FrameError::Version(other)),
        }
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(self) -> Result<(), FrameError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(FrameError::Trailing(bytes)),
        }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, FrameError> {
        let (&byte, rest) = self.rest.split_first().ok_or(FrameError::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(FrameError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], FrameError> {
        let len = u32::take(self)? as usize;
        let (bytes, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(FrameError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The count of a list whose items follow, each of at least one byte.
    ///
    /// # Errors
    /// When the list is longer than the frame can hold, or than this reader takes.
    #[inline]
    pub fn count(&mut self) -> Result<usize, FrameError> {
        let count = u32::take(self)?;
        if count > self.bound {
            let bound = self.bound;
            return Err(FrameError::TooMany { count, bound });
        }
        if count as usize > self.rest.len() {
            return Err(FrameError::Truncated);
        }
        Ok(count as usize)
    }
}

#[inline]
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // Whoever makes a frame of 4 GiB has passed every bound of the contract long before.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

macro_rules! numbers {
    ($($ty:ty),*) => {
        $(impl<'a> Wire<'a> for $ty {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
                frame.array().map(<$ty>::from_le_bytes)
            }
        })*
    };
}
numbers!(u16, u32, u64);

fn flag(frame: &mut Reader<'_>, what: &'static str) -> Result<bool, FrameError> {
    match frame.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        tag => Err(FrameError::Tag { what, tag }),
    }
}

impl<'a> Wire<'a> for bool {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        flag(frame, "bool")
    }
}

impl<'a> Wire<'a> for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn take(_: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(())
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self, out);
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        frame.bytes()
    }
}

impl<'a> Wire<'a> for Vec<u8> {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self, out);
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        frame.bytes().map(<[u8]>::to_vec)
    }
}

/// Bytes that many hold: a state.
impl<'a> Wire<'a> for Arc<[u8]> {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self, out);
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        frame.bytes().map(Arc::from)
    }
}

impl<'a> Wire<'a> for &'a str {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        std::str::from_utf8(frame.bytes()?).map_err(|_| FrameError::Utf8)
    }
}

impl<'a> Wire<'a> for String {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        <&str>::take(frame).map(str::to_owned)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(out);
        }
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(match flag(frame, "option")? {
            true => Some(T::take(frame)?),
            false => None,
        })
    }
}

/// 0 and the value, or 1 and the error.
impl<'a, T: Wire<'a>, E: Wire<'a>> Wire<'a> for Result<T, E> {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_err()));
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(match flag(frame, "result")? {
            true => Err(E::take(frame)?),
            false => Ok(T::take(frame)?),
        })
    }
}

/// A count, then the items. A list of bytes is not one of these: it is written as one piece.
impl<'a, T: Wire<'a>> Wire<'a> for Vec<T> {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        self.iter().for_each(|item| item.put(out));
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        let count = frame.count()?;
        // Items take more room than their bytes: it grows as they are read.
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(T::take(frame)?);
        }
        Ok(items)
    }
}

impl<'a, T: Wire<'a>, U: Wire<'a>> Wire<'a> for (T, U) {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok((T::take(frame)?, U::take(frame)?))
    }
}
