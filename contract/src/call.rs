//! Which frame goes into which function of a module, and which comes out. What is on the hot path can be written piece
//! by piece, without the records that a reader sees.
//!
//! | function | takes | gives |
//! |---|---|---|
//! | `init` | [`Init`] | `Result<Started, String>` |
//! | `handle` | [`Handle`] | `Batch` |
//! | `code-change` | [`CodeChange`] | a list of `Result<Migrated, String>`, one for each item |
//! | `convert-event` | [`ConvertEvent`] | `Result<Option<Event>, String>` |
//! | `apply` | [`Apply`] | `Result<list of Effect, String>` |
//! | `terminate` | [`Terminate`] | a list of `Effect` |

use crate::types::{Batch, Cx, Direction, Effect, Envelope, Event, Next};
use crate::wire::{FrameError, Reader, VERSION, Wire, put_bytes};

record! {
    /// An actor begins.
    Init<B = Vec<u8>> {
        /// Its first view of the world.
        cx: Cx,
        /// JSON, from a release or from whoever spawns.
        args: B,
    }
}

record! {
    /// Events of one actor.
    Handle<B = Vec<u8>, S = String> {
        /// Its state.
        state: B,
        /// In the order in which they came.
        events: Vec<(Cx, Envelope<B, S>)>,
    }
}

record! {
    /// States of other code, to be made this code's, or the other way round.
    CodeChange<B = Vec<u8>, S = String> {
        /// `Up`: `vsn` is what the states come from; `Down`: what they go to.
        direction: Direction,
        /// The other vsn.
        vsn: S,
        /// JSON from the patch.
        extra: B,
        /// Actors and their states.
        items: Vec<(Cx, B)>,
    }
}

record! {
    /// An event that was sent by code of the other side of a patch.
    ConvertEvent<B = Vec<u8>, S = String> {
        /// `Up`: it comes from `vsn`; `Down`: it goes there.
        direction: Direction,
        /// The other vsn.
        vsn: S,
        /// The event.
        event: Event<B, S>,
    }
}

record! {
    /// A function of the module, outside any actor.
    Apply<B = Vec<u8>, S = String> {
        /// Its view of the world.
        cx: Cx,
        /// Which function.
        name: S,
        /// JSON.
        args: B,
    }
}

record! {
    /// An actor ends.
    Terminate<B = Vec<u8>, S = String> {
        /// Its last view of the world.
        cx: Cx,
        /// Why.
        reason: S,
        /// Its state.
        state: B,
    }
}

/// Writes the frame of a [`Handle`].
pub fn put_handle<'e>(
    state: &[u8],
    events: impl ExactSizeIterator<Item = (&'e Cx, &'e Envelope)>,
    out: &mut Vec<u8>,
) {
    out.clear();
    out.push(VERSION);
    put_bytes(state, out);
    (events.len() as u32).put(out);
    for (cx, envelope) in events {
        cx.put(out);
        envelope.put(out);
    }
}

/// Writes the frame of a [`CodeChange`].
pub fn put_code_change<'i>(
    direction: Direction,
    vsn: &str,
    extra: &[u8],
    items: impl ExactSizeIterator<Item = (&'i Cx, &'i [u8])>,
    out: &mut Vec<u8>,
) {
    out.clear();
    out.push(VERSION);
    direction.put(out);
    vsn.put(out);
    extra.put(out);
    (items.len() as u32).put(out);
    for (cx, state) in items {
        cx.put(out);
        put_bytes(state, out);
    }
}

/// A list of effects while it grows: written as they are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    count: u32,
    bytes: Vec<u8>,
}

impl Effects {
    /// Appends one.
    #[inline]
    pub fn push<'a, B: Wire<'a>, S: Wire<'a>>(&mut self, effect: &Effect<B, S>) {
        self.count += 1;
        effect.put(&mut self.bytes);
    }

    /// Forgets them all, and keeps the room.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
    }

    /// The effects as values.
    pub fn to_vec(&self) -> Vec<Effect> {
        let mut list = Vec::with_capacity(self.bytes.len() + 5);
        list.push(VERSION);
        self.put(&mut list);
        // What `push` wrote can be read.
        crate::decode(&list, u32::MAX).unwrap_or_default()
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.count.put(out);
        out.extend_from_slice(&self.bytes);
    }
}

/// The frame of a [`Batch`] while its steps come.
#[derive(Debug)]
pub struct Steps<'o> {
    out: &'o mut Vec<u8>,
    count: u32,
}

/// Where a frame that is one list, or begins with one, counts its items.
const COUNT: std::ops::Range<usize> = 1..5;

impl<'o> Steps<'o> {
    /// Begins a frame in the place of what `out` held.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        out.clear();
        out.push(VERSION);
        0_u32.put(out);
        Steps { out, count: 0 }
    }

    /// Appends a step.
    #[inline]
    pub fn push<'a, S: Wire<'a>>(&mut self, effects: &Effects, next: &Next<S>) {
        effects.put(self.out);
        next.put(self.out);
        self.count += 1;
    }

    /// Steps so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// No step yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Ends the frame. `state` appends the new state's bytes; those of `before` again mean that it is unchanged.
    ///
    /// # Errors
    /// When `state` fails; the frame is to be begun anew then.
    pub fn end<E>(
        self,
        before: &[u8],
        error: Option<&str>,
        state: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let out = self.out;
        let option = out.len();
        out.extend_from_slice(&[1, 0, 0, 0, 0]);
        let start = out.len();
        state(out)?;
        if out[start..] == *before {
            out.truncate(option);
            out.push(0);
        } else {
            let len = (out.len() - start) as u32;
            out[option + 1..start].copy_from_slice(&len.to_le_bytes());
        }
        error.put(out);
        out[COUNT].copy_from_slice(&self.count.to_le_bytes());
        Ok(())
    }

    /// Ends the frame of a batch that left the state as it was.
    pub fn end_unchanged(self, error: Option<&str>) {
        let Steps { out, count } = self;
        out.push(0);
        error.put(out);
        out[COUNT].copy_from_slice(&count.to_le_bytes());
    }
}

/// The frame of `code-change`'s results while they come.
#[derive(Debug)]
pub struct Changed<'o> {
    out: &'o mut Vec<u8>,
    count: u32,
}

impl<'o> Changed<'o> {
    /// Begins a frame in the place of what `out` held.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        out.clear();
        out.push(VERSION);
        0_u32.put(out);
        Changed { out, count: 0 }
    }

    /// Appends one result. `state` appends the new state's bytes, and gives what is to be redelivered.
    pub fn push(&mut self, state: impl FnOnce(&mut Vec<u8>) -> Result<Vec<Event>, String>) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 5]);
        match state(self.out) {
            Ok(redeliver) => {
                let len = (self.out.len() - start - 5) as u32;
                self.out[start + 1..start + 5].copy_from_slice(&len.to_le_bytes());
                redeliver.put(self.out);
            }
            Err(reason) => {
                self.out.truncate(start);
                self.out.push(1);
                reason.put(self.out);
            }
        }
        self.count += 1;
        self.out[COUNT].copy_from_slice(&self.count.to_le_bytes());
    }
}

impl Batch {
    /// Reads what `handle` gave for so many events: no more steps than events, and no list of more than `bound`.
    ///
    /// # Errors
    /// When the frame is no such batch.
    pub fn decode(frame: &[u8], events: usize, bound: u32) -> Result<Self, FrameError> {
        let mut steps = Reader::new(frame, events as u32)?;
        steps.count()?;
        crate::decode(frame, bound.max(events as u32))
    }
}
