//! What is said: events, effects, and what goes with them. Bytes and text are parameters, so that a frame can be read
//! in place (`&[u8]`, `&str`) or into values of its own (`Vec<u8>`, `String`, which is what the names mean without
//! parameters). The numbers are the tags of the frame; they never change their meaning within one `VERSION`.

use crate::wire::{FrameError, Reader, Wire};

/// An actor of this node, for as long as it lives. Never reused.
pub type Pid = u64;
/// A timer or a request of the actor that issued it: made from `Cx::id_base`.
pub type Id = u64;
/// A TCP listener or connection of this node. Never reused.
pub type Socket = u64;

/// What one event may know of the world. The same event run again gets the same values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cx {
    /// The actor itself.
    pub me: Pid,
    /// Nanoseconds since 1970-01-01 UTC. Read once per batch.
    pub wall: u64,
    /// Nanoseconds since the node started. Read once per batch.
    pub mono: u64,
    /// 64 random bits of its own for every event.
    pub seed: u64,
    /// 65,536 ids from here on are this event's own, for timers, requests and listeners.
    pub id_base: u64,
}

/// As a record of five numbers is written, in one piece: there is one for each event.
impl<'a> Wire<'a> for Cx {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; 40];
        let numbers = [self.me, self.wall, self.mono, self.seed, self.id_base];
        for (to, number) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
            *to = number.to_le_bytes();
        }
        out.extend_from_slice(&bytes);
    }
    #[inline]
    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        let bytes: [u8; 40] = frame.array()?;
        let number = |n: usize| u64::from_le_bytes(bytes.as_chunks().0[n]);
        Ok(Cx {
            me: number(0),
            wall: number(1),
            mono: number(2),
            seed: number(3),
            id_base: number(4),
        })
    }
}

variant! {
    /// To whom.
    Dest<S = String> {
        /// This actor.
        0 = Pid(Pid),
        /// Whoever holds the name when the message is released.
        1 = Name(S),
    }
}

// ---- what arrives ----

record! {
    /// A question.
    Request<B = Vec<u8>> {
        /// Who asks.
        caller: Pid,
        /// Which of its questions.
        id: Id,
        /// The question.
        body: B,
    }
}

record! {
    /// A timer that ran out.
    Timer<B = Vec<u8>> {
        /// Which.
        id: Id,
        /// What it was started with.
        body: B,
    }
}

variant! {
    /// Why a request has no answer.
    RequestError<S = String> {
        /// Nobody lives there, or it died before it answered: the reason.
        0 = Down(S),
        /// It did not answer in time.
        1 = Timeout,
        /// The mailbox of the receiver was full.
        2 = Overflow,
        /// A rollback restored the receiver or the issuer to a state before the request.
        3 = Restored,
    }
}

record! {
    /// What came of a request.
    Response<B = Vec<u8>, S = String> {
        /// Which.
        id: Id,
        /// What was sent along.
        cookie: B,
        /// The vsn of the module that issued the request, when it is not the one that runs now.
        issued_by: Option<S>,
        /// The answer, or why there is none.
        outcome: Result<B, RequestError<S>>,
    }
}

record! {
    /// A monitored actor ended.
    Down<S = String> {
        /// Which.
        pid: Pid,
        /// Why.
        reason: S,
    }
}

record! {
    /// A linked actor ended, or somebody sent an exit signal, and this actor traps exits.
    Exit<S = String> {
        /// From whom.
        pid: Pid,
        /// Why.
        reason: S,
    }
}

record! {
    /// `listen` succeeded.
    Listening {
        /// Which `listen`.
        id: Id,
        /// The listener.
        socket: Socket,
        /// The port it is bound to.
        port: u16,
    }
}

record! {
    /// `listen` failed.
    ListenFailed<S = String> {
        /// Which `listen`.
        id: Id,
        /// The port that was asked for.
        port: u16,
        /// Why.
        reason: S,
    }
}

record! {
    /// A connection came in.
    Accepted<S = String> {
        /// Where.
        listener: Socket,
        /// The connection.
        socket: Socket,
        /// The address of the other side.
        peer: S,
    }
}

record! {
    /// `connect` succeeded.
    Connected<S = String> {
        /// Which `connect`.
        id: Id,
        /// The connection.
        socket: Socket,
        /// The address of the other side.
        peer: S,
    }
}

record! {
    /// `connect` failed.
    ConnectFailed<S = String> {
        /// Which `connect`.
        id: Id,
        /// Why.
        reason: S,
    }
}

record! {
    /// Bytes that a connection delivered.
    Data<B = Vec<u8>> {
        /// Which connection.
        socket: Socket,
        /// At least one byte.
        bytes: B,
    }
}

record! {
    /// The last event of a socket.
    Closed<S = String> {
        /// Which.
        socket: Socket,
        /// `closed` by the peer, or why.
        reason: S,
    }
}

variant! {
    /// Something happened at a listener or connection.
    SocketEvent<B = Vec<u8>, S = String> {
        /// `listen` succeeded.
        0 = Listening(Listening),
        /// `listen` failed.
        1 = ListenFailed(ListenFailed<S>),
        /// A connection came in.
        2 = Accepted(Accepted<S>),
        /// `connect` succeeded.
        3 = Connected(Connected<S>),
        /// `connect` failed.
        4 = ConnectFailed(ConnectFailed<S>),
        /// Bytes came.
        5 = Data(Data<B>),
        /// The count of `Active::Count` ran out; nothing is read until it is set again.
        6 = Passive(Socket),
        /// The last event.
        7 = Closed(Closed<S>),
    }
}

record! {
    /// The answer to the effect `Register`.
    Registered<S = String> {
        /// The name.
        name: S,
        /// The pid that holds the name now.
        holder: Pid,
    }
}

variant! {
    /// What arrives.
    Event<B = Vec<u8>, S = String> {
        /// A question that is to be answered.
        0 = Call(Request<B>),
        /// A message of the kind `cast`.
        1 = Cast(B),
        /// A message of the kind `send`.
        2 = Info(B),
        /// A timer ran out.
        3 = Timer(Timer<B>),
        /// A request was answered, or never will be.
        4 = Response(Response<B, S>),
        /// A monitored actor ended.
        5 = Down(Down<S>),
        /// An exit signal, trapped.
        6 = Exit(Exit<S>),
        /// A socket has something to say.
        7 = Socket(SocketEvent<B, S>),
        /// Who holds a name that was asked for.
        8 = Registered(Registered<S>),
    }
}

record! {
    /// An event and who sent it.
    Envelope<B = Vec<u8>, S = String> {
        /// None: the host.
        sender: Option<Pid>,
        /// The event.
        body: Event<B, S>,
    }
}

// ---- what is released when the handler ends well ----

record! {
    /// A message.
    Message<B = Vec<u8>, S = String> {
        /// To whom.
        to: Dest<S>,
        /// What.
        body: B,
    }
}

record! {
    /// A question to another actor.
    Ask<B = Vec<u8>, S = String> {
        /// From `Cx::id_base`.
        id: Id,
        /// To whom.
        to: Dest<S>,
        /// What.
        body: B,
        /// Comes back with the answer, whatever code runs by then.
        cookie: B,
        /// Milliseconds; 0 waits for ever.
        timeout: u32,
    }
}

record! {
    /// The answer to a call.
    Answer<B = Vec<u8>> {
        /// Who asked.
        caller: Pid,
        /// Which of its questions.
        id: Id,
        /// The answer.
        body: B,
    }
}

record! {
    /// An actor to start.
    Spawn<B = Vec<u8>, S = String> {
        /// From `host.reserve`.
        pid: Pid,
        /// Its module.
        module: S,
        /// What `init` gets.
        args: B,
        /// A name from its first moment on.
        name: Option<S>,
        /// Watched by who starts it.
        monitor: bool,
        /// Linked to who starts it.
        link: bool,
        /// The supervisor that starts it as a child of its own; none: the supervisor of the actor that spawns, as a
        /// temporary child.
        under: Option<S>,
    }
}

record! {
    /// An exit signal: `normal` is ignored unless exits are trapped, `kill` cannot be trapped.
    ExitSignal<S = String> {
        /// To whom.
        to: Pid,
        /// Why.
        reason: S,
    }
}

variant! {
    /// A child of a supervisor.
    Child<S = String> {
        /// By its pid.
        0 = Pid(Pid),
        /// By the name of its specification.
        1 = Name(S),
    }
}

record! {
    /// What a supervisor is told to do with one of its children.
    ChildOrder<S = String> {
        /// The supervisor's name.
        supervisor: S,
        /// Its child.
        child: Child<S>,
    }
}

record! {
    /// A timer to start.
    StartTimer<B = Vec<u8>> {
        /// From `Cx::id_base`.
        id: Id,
        /// Milliseconds.
        after_ms: u32,
        /// Comes back when it runs out.
        body: B,
    }
}

record! {
    /// A listener to open.
    Listen {
        /// From `Cx::id_base`.
        id: Id,
        /// 0: the host chooses.
        port: u16,
    }
}

record! {
    /// A connection to open. The release must allow it.
    Connect<S = String> {
        /// From `Cx::id_base`.
        id: Id,
        /// An address or a name.
        host: S,
        /// The port.
        port: u16,
        /// Milliseconds; 0: the runtime's own bound.
        timeout: u32,
    }
}

record! {
    /// Bytes to write.
    Write<B = Vec<u8>> {
        /// Where.
        socket: Socket,
        /// What.
        bytes: B,
    }
}

variant! {
    /// How much of a socket the host reads on its own.
    #[derive(Copy)]
    Active {
        /// Nothing.
        0 = Off,
        /// One piece of data, then nothing.
        1 = Once,
        /// So many pieces, then `SocketEvent::Passive`.
        2 = Count(u16),
        /// Everything.
        3 = Always,
    }
}

record! {
    /// A socket's new mode.
    SetActive {
        /// Which socket.
        socket: Socket,
        /// How.
        mode: Active,
    }
}

record! {
    /// A socket's new owner.
    Give {
        /// Which socket.
        socket: Socket,
        /// To whom.
        to: Pid,
    }
}

variant! {
    /// What a handler asks for.
    Effect<B = Vec<u8>, S = String> {
        /// Arrives as `Event::Info`.
        0 = Send(Message<B, S>),
        /// Arrives as `Event::Cast`.
        1 = Cast(Message<B, S>),
        /// Arrives as `Event::Call`.
        2 = Request(Ask<B, S>),
        /// Answers a call.
        3 = Reply(Answer<B>),
        /// Starts an actor.
        4 = Spawn(Spawn<B, S>),
        /// Asks for a name.
        5 = Register(S),
        /// Gives a name up.
        6 = Unregister(S),
        /// Starts a timer.
        7 = StartTimer(StartTimer<B>),
        /// Stops a timer.
        8 = CancelTimer(Id),
        /// Watches an actor.
        9 = Monitor(Pid),
        /// Watches it no more.
        10 = Demonitor(Pid),
        /// Links.
        11 = Link(Pid),
        /// Unlinks.
        12 = Unlink(Pid),
        /// Whether exit signals arrive as events.
        13 = TrapExit(bool),
        /// Sends an exit signal.
        14 = Exit(ExitSignal<S>),
        /// A supervisor ends a child.
        15 = StopChild(ChildOrder<S>),
        /// A supervisor starts a child again.
        16 = RestartChild(ChildOrder<S>),
        /// Joins a process group: an actor may be in many, and many times in one.
        17 = Join(S),
        /// Takes one `Join` back.
        18 = Leave(S),
        /// Opens a listener.
        19 = Listen(Listen),
        /// Opens a connection.
        20 = Connect(Connect<S>),
        /// Writes to a connection.
        21 = Write(Write<B>),
        /// Sets how much is read.
        22 = SetActive(SetActive),
        /// Gives a socket away.
        23 = Give(Give),
        /// Closes a socket.
        24 = Close(Socket),
    }
}

variant! {
    /// How an actor goes on after an event.
    Next<S = String> {
        /// It lives.
        0 = Continue,
        /// It ends: the reason.
        1 = Stop(S),
    }
}

record! {
    /// What came of one event.
    Step<B = Vec<u8>, S = String> {
        /// In the order in which they are released.
        effects: Vec<Effect<B, S>>,
        /// Whether the actor lives on.
        next: Next<S>,
    }
}

record! {
    /// A first state and what it asks for.
    Started<B = Vec<u8>, S = String> {
        /// The state.
        state: B,
        /// In order.
        effects: Vec<Effect<B, S>>,
    }
}

record! {
    /// What came of a batch.
    Batch<B = Vec<u8>, S = String> {
        /// One for each event handled well, in order; they end at the first stop or error.
        steps: Vec<Step<B, S>>,
        /// The state after the last of them; none: unchanged.
        state: Option<B>,
        /// Why the event after the last step failed.
        error: Option<S>,
    }
}

variant! {
    /// Which way a patch goes.
    #[derive(Copy)]
    Direction {
        /// To the newer code.
        0 = Up,
        /// To the older code.
        1 = Down,
    }
}

record! {
    /// A state of another version, made this one's.
    Migrated<A = Vec<u8>, B = Vec<u8>, S = String> {
        /// The state.
        state: A,
        /// Put at the head of the mailbox when the state is installed.
        redeliver: Vec<Event<B, S>>,
    }
}
