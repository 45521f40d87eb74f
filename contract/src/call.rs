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
//! | `on-load` | bytes, JSON | `Result<(), String>` |
//! | `describe` | [`Describe`] | `Result<String, String>` |
//! | `parse` | text, JSON | `Result<bytes of a state, String>` |

use crate::types::{Ask, Batch, Cx, Direction, Effect, Envelope, Event, Next, Step};
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

record! {
    /// A state to be shown.
    Describe<B = Vec<u8>> {
        /// The state.
        state: B,
        /// The most bytes of JSON.
        max: u32,
    }
}

/// Where in its memory a function left the frame that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its address.
    pub at: u32,
    /// Its length, in bytes.
    pub bytes: u32,
}

impl From<u64> for Place {
    fn from(place: u64) -> Self {
        Place {
            at: (place >> 32) as u32,
            bytes: place as u32,
        }
    }
}

impl From<Place> for u64 {
    fn from(place: Place) -> Self {
        u64::from(place.at) << 32 | u64::from(place.bytes)
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

/// A list of effects while it grows, at the end of a frame: written where it stays, as they are asked for.
#[derive(Debug, Default)]
pub struct Effects {
    frame: Vec<u8>,
    /// Where the list begins, with its count.
    at: usize,
    count: u32,
}

impl Effects {
    /// Lists behind what is in this frame; `begin` begins the first.
    pub fn within(frame: Vec<u8>) -> Self {
        let at = frame.len();
        Effects {
            frame,
            at,
            count: 0,
        }
    }

    /// A list begins.
    #[inline]
    pub fn begin(&mut self) {
        (self.at, self.count) = (self.frame.len(), 0);
        self.frame.extend_from_slice(&[0; 4]);
    }

    /// Appends one.
    #[inline]
    pub fn push<'a, B: Wire<'a>, S: Wire<'a>>(&mut self, effect: &Effect<B, S>) {
        effect.put(&mut self.frame);
        self.count += 1;
    }

    /// Appends one that ends with bytes, which are empty in `effect`; `bytes` appends them.
    ///
    /// # Errors
    /// When `bytes` fails; the list is as it was then.
    #[inline]
    pub fn push_with<E>(
        &mut self,
        effect: &Effect<&[u8], &str>,
        bytes: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.frame.len();
        effect.put(&mut self.frame);
        // The length of nothing is there already.
        self.frame.truncate(self.frame.len() - LENGTH);
        put_with(bytes, &mut self.frame).inspect_err(|_| self.frame.truncate(start))?;
        self.count += 1;
        Ok(())
    }

    /// Appends a request, whose body and cookie are empty in `ask`; `body` and `cookie` append them.
    ///
    /// # Errors
    /// When one of them fails; the list is as it was then.
    #[inline]
    pub fn push_request<E>(
        &mut self,
        ask: Ask<&[u8], &str>,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        cookie: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (start, timeout) = (self.frame.len(), ask.timeout);
        Effect::Request(ask).put(&mut self.frame);
        // Two lengths of nothing, and the timeout behind them.
        self.frame.truncate(self.frame.len() - 3 * LENGTH);
        put_with(body, &mut self.frame)
            .and_then(|()| put_with(cookie, &mut self.frame))
            .inspect_err(|_| self.frame.truncate(start))?;
        timeout.put(&mut self.frame);
        self.count += 1;
        Ok(())
    }

    /// The list ends: the frame, to go on in.
    #[inline]
    pub fn end(&mut self) -> &mut Vec<u8> {
        self.frame[self.at..self.at + LENGTH].copy_from_slice(&self.count.to_le_bytes());
        &mut self.frame
    }

    /// The list never was.
    pub fn forget(&mut self) {
        self.frame.truncate(self.at);
        self.count = 0;
    }

    /// The frame.
    pub fn into_frame(self) -> Vec<u8> {
        self.frame
    }

    /// The effects of the list as values.
    pub fn to_vec(&self) -> Vec<Effect> {
        let effects = self.frame.get(self.at + LENGTH..).unwrap_or_default();
        let mut list = Vec::with_capacity(effects.len() + 5);
        list.push(VERSION);
        self.count.put(&mut list);
        list.extend_from_slice(effects);
        // What `push` wrote can be read.
        crate::decode(&list, u32::MAX).unwrap_or_default()
    }
}

/// Bytes of a length or a count.
const LENGTH: usize = 4;

/// Bytes that `write` appends, behind their length.
#[inline]
fn put_with<E>(
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    out: &mut Vec<u8>,
) -> Result<(), E> {
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    write(out)?;
    let len = (out.len() - at - LENGTH) as u32;
    out[at..at + LENGTH].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// Equal bytes, eight at a time: WebAssembly has no instruction that compares more.
fn same(one: &[u8], other: &[u8]) -> bool {
    let (pieces, rest) = one.as_chunks::<8>();
    let (others, other_rest) = other.as_chunks::<8>();
    one.len() == other.len()
        && rest.iter().eq(other_rest)
        && pieces
            .iter()
            .zip(others)
            .all(|(a, b)| u64::from_le_bytes(*a) == u64::from_le_bytes(*b))
}

/// The frame of a [`Batch`] while its steps come: each is a list of effects at the frame's end, then `push`.
#[derive(Debug)]
pub struct Steps {
    count: u32,
}

/// Where a frame that is one list, or begins with one, counts its items.
const COUNT: std::ops::Range<usize> = 1..5;

impl Steps {
    /// Begins a frame in the place of what `out` held.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        out.clear();
        out.push(VERSION);
        0_u32.put(out);
        Steps { count: 0 }
    }

    /// Ends a step, whose effects are in the frame.
    #[inline]
    pub fn push<'a, S: Wire<'a>>(&mut self, next: &Next<S>, out: &mut Vec<u8>) {
        next.put(out);
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
        out: &mut Vec<u8>,
        state: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let option = out.len();
        out.push(1);
        put_with(state, out)?;
        if same(&out[option + 1 + LENGTH..], before) {
            out.truncate(option);
            out.push(0);
        }
        error.put(out);
        out[COUNT].copy_from_slice(&self.count.to_le_bytes());
        Ok(())
    }

    /// Ends the frame of a batch that left the state as it was.
    pub fn end_unchanged(self, error: Option<&str>, out: &mut Vec<u8>) {
        out.push(0);
        error.put(out);
        out[COUNT].copy_from_slice(&self.count.to_le_bytes());
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

/// Vectors that one batch leaves to the next, so that small ones are read without an allocation.
#[derive(Debug, Default)]
pub struct BatchRoom {
    steps: Vec<Step>,
    effects: Vec<Vec<Effect>>,
    state: Vec<u8>,
}

impl BatchRoom {
    /// Lists that are kept, and items or bytes that one of them may have room for.
    const KEPT: usize = 16;
    const ROOM: usize = 256;

    /// The steps of a batch, emptied.
    pub fn give_steps(&mut self, mut steps: Vec<Step>) {
        for step in steps.drain(..) {
            self.give_effects(step.effects);
        }
        if steps.capacity() <= Self::ROOM {
            self.steps = steps;
        }
    }

    /// The effects of a step.
    pub fn give_effects(&mut self, mut effects: Vec<Effect>) {
        if (1..=Self::ROOM).contains(&effects.capacity()) && self.effects.len() < Self::KEPT {
            effects.clear();
            self.effects.push(effects);
        }
    }

    /// A state that was copied.
    pub fn give_state(&mut self, state: Vec<u8>) {
        if state.capacity() <= Self::ROOM {
            self.state = state;
        }
    }
}

impl Batch {
    /// Reads what `handle` gave for so many events: no more steps than events, and no list of more than `bound`.
    ///
    /// # Errors
    /// When the frame is no such batch.
    pub fn decode(
        frame: &[u8],
        events: usize,
        bound: u32,
        room: &mut BatchRoom,
    ) -> Result<Self, FrameError> {
        Reader::new(frame, events as u32)?.count()?;
        let mut frame = Reader::new(frame, bound.max(events as u32))?;
        let mut steps = std::mem::take(&mut room.steps);
        for _ in 0..frame.count()? {
            let count = frame.count()?;
            let mut effects = match count {
                0 => Vec::new(),
                _ => room.effects.pop().unwrap_or_default(),
            };
            for _ in 0..count {
                Effect::take_onto(&mut frame, &mut effects)?;
            }
            let next = Wire::take(&mut frame)?;
            steps.push(Step { effects, next });
        }
        let state = <Option<&[u8]> as Wire>::take(&mut frame)?.map(|bytes| {
            let mut state = std::mem::take(&mut room.state);
            state.clear();
            state.extend_from_slice(bytes);
            state
        });
        let error = Wire::take(&mut frame)?;
        frame.end()?;
        Ok(Batch {
            steps,
            state,
            error,
        })
    }
}
