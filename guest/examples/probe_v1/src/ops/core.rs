//! What the probe remembers between events. Lists keep their newest entries only, so that a long test stays within the
//! bound of a state.

use midflight_guest::{Active, Dest, Pid, ReplyTo, Socket, state};
use std::collections::{BTreeMap, VecDeque};

/// The newest so many pairs, notes and heard bytes are kept.
pub const KEPT: usize = 512;

/// What the probe remembers.
#[state]
#[derive(Default)]
pub struct Core {
    pub flag: bool,
    pub total: u64,
    pub calls: u64,
    pub casts: u64,
    pub infos: u64,
    pub timers: u64,
    pub pings: u64,
    pub unreadable: u64,
    /// Noted messages, and how many came with a `seq` that does not follow the sender's last one.
    pub noted: u64,
    pub out_of_order: u64,
    pub last: BTreeMap<u64, u64>,
    pub received: VecDeque<(u64, u64)>,
    pub notes: VecDeque<String>,
    pub answers: VecDeque<(String, Result<String, String>)>,
    pub downs: VecDeque<(u64, String)>,
    pub exits: VecDeque<(u64, String)>,
    pub registered: VecDeque<(String, u64)>,
    pub children: Vec<Pid>,
    pub put_off: VecDeque<ReplyTo>,
    pub last_words: Option<Dest>,
    pub listener: Option<(Socket, u16)>,
    pub active: Option<Active>,
    pub echo: bool,
    pub sockets: Vec<Socket>,
    pub passive: u64,
    pub bytes_heard: u64,
    pub heard: String,
    pub closed: VecDeque<(u64, String)>,
    pub pad: Vec<u8>,
}

/// Appends, and forgets the oldest when the list is full.
pub fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(item);
}
