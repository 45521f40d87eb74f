//! What is written is read again, and nothing else is read: whatever the bytes, the answer is a value or an error.

use midflight_contract::*;
use proptest::prelude::*;

/// Numbers from a seed, and every kind of value from those.
struct Gen(u64);

impl Gen {
    fn n(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
    fn u64(&mut self) -> u64 {
        let bits = self.n(65);
        self.n(u64::MAX) >> (64 - bits).min(63)
    }
    fn u32(&mut self) -> u32 {
        self.u64() as u32
    }
    fn bool(&mut self) -> bool {
        self.n(2) == 1
    }
    fn bytes(&mut self) -> Vec<u8> {
        (0..self.n(20)).map(|_| self.n(256) as u8).collect()
    }
    fn text(&mut self) -> String {
        (0..self.n(8))
            .map(|_| ['a', 'ß', '…', '🛫'][self.n(4) as usize])
            .collect()
    }
    fn maybe<T>(&mut self, of: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.bool().then(|| of(self))
    }
    fn list<T>(&mut self, mut of: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.n(5)).map(|_| of(self)).collect()
    }
    fn cx(&mut self) -> Cx {
        Cx {
            me: self.u64(),
            wall: self.u64(),
            mono: self.u64(),
            seed: self.u64(),
            id_base: self.u64(),
        }
    }
    fn dest(&mut self) -> Dest {
        if self.bool() {
            Dest::Pid(self.u64())
        } else {
            Dest::Name(self.text())
        }
    }
    fn request_error(&mut self) -> RequestError {
        match self.n(4) {
            0 => RequestError::Down(self.text()),
            1 => RequestError::Timeout,
            2 => RequestError::Overflow,
            _ => RequestError::Restored,
        }
    }
    fn socket_event(&mut self) -> SocketEvent {
        let (id, socket, port) = (self.u64(), self.u64(), self.u32() as u16);
        let (listener, text) = (self.u64(), self.text());
        match self.n(8) {
            0 => SocketEvent::Listening(Listening { id, socket, port }),
            1 => SocketEvent::ListenFailed(ListenFailed {
                id,
                port,
                reason: text,
            }),
            2 => SocketEvent::Accepted(Accepted {
                listener,
                socket,
                peer: text,
            }),
            3 => SocketEvent::Connected(Connected {
                id,
                socket,
                peer: text,
            }),
            4 => SocketEvent::ConnectFailed(ConnectFailed { id, reason: text }),
            5 => SocketEvent::Data(Data {
                socket,
                bytes: self.bytes(),
            }),
            6 => SocketEvent::Passive(socket),
            _ => SocketEvent::Closed(Closed {
                socket,
                reason: text,
            }),
        }
    }
    fn event(&mut self) -> Event {
        let (pid, id) = (self.u64(), self.u64());
        match self.n(9) {
            0 => Event::Call(Request {
                caller: pid,
                id,
                body: self.bytes(),
            }),
            1 => Event::Cast(self.bytes()),
            2 => Event::Info(self.bytes()),
            3 => Event::Timer(Timer {
                id,
                body: self.bytes(),
            }),
            4 => Event::Response(Response {
                id,
                cookie: self.bytes(),
                issued_by: self.maybe(Self::text),
                outcome: if self.bool() {
                    Ok(self.bytes())
                } else {
                    Err(self.request_error())
                },
            }),
            5 => Event::Down(Down {
                pid,
                reason: self.text(),
            }),
            6 => Event::Exit(Exit {
                pid,
                reason: self.text(),
            }),
            7 => Event::Socket(self.socket_event()),
            _ => Event::Registered(Registered {
                name: self.text(),
                holder: pid,
            }),
        }
    }
    fn envelope(&mut self) -> Envelope {
        Envelope {
            sender: self.maybe(Self::u64),
            body: self.event(),
        }
    }
    fn message(&mut self) -> Message {
        Message {
            to: self.dest(),
            body: self.bytes(),
        }
    }
    fn order(&mut self) -> ChildOrder {
        let child = if self.bool() {
            Child::Pid(self.u64())
        } else {
            Child::Name(self.text())
        };
        ChildOrder {
            supervisor: self.text(),
            child,
        }
    }
    fn effect(&mut self) -> Effect {
        let (pid, id) = (self.u64(), self.u64());
        match self.n(25) {
            0 => Effect::Send(self.message()),
            1 => Effect::Cast(self.message()),
            2 => Effect::Request(Ask {
                id,
                to: self.dest(),
                body: self.bytes(),
                cookie: self.bytes(),
                timeout: self.u32(),
            }),
            3 => Effect::Reply(Answer {
                caller: pid,
                id,
                body: self.bytes(),
            }),
            4 => Effect::Spawn(Spawn {
                pid,
                module: self.text(),
                args: self.bytes(),
                name: self.maybe(Self::text),
                monitor: self.bool(),
                link: self.bool(),
                under: self.maybe(Self::text),
            }),
            5 => Effect::Register(self.text()),
            6 => Effect::Unregister(self.text()),
            7 => Effect::StartTimer(StartTimer {
                id,
                after_ms: self.u32(),
                body: self.bytes(),
            }),
            8 => Effect::CancelTimer(id),
            9 => Effect::Monitor(pid),
            10 => Effect::Demonitor(pid),
            11 => Effect::Link(pid),
            12 => Effect::Unlink(pid),
            13 => Effect::TrapExit(self.bool()),
            14 => Effect::Exit(ExitSignal {
                to: pid,
                reason: self.text(),
            }),
            15 => Effect::StopChild(self.order()),
            16 => Effect::RestartChild(self.order()),
            17 => Effect::Join(self.text()),
            18 => Effect::Leave(self.text()),
            19 => Effect::Listen(Listen {
                id,
                port: self.u32() as u16,
            }),
            20 => Effect::Connect(Connect {
                id,
                host: self.text(),
                port: self.u32() as u16,
                timeout: self.u32(),
            }),
            21 => Effect::Write(Write {
                socket: pid,
                bytes: self.bytes(),
            }),
            22 => {
                let mode = match self.n(4) {
                    0 => Active::Off,
                    1 => Active::Once,
                    2 => Active::Count(self.u32() as u16),
                    _ => Active::Always,
                };
                Effect::SetActive(SetActive { socket: pid, mode })
            }
            23 => Effect::Give(Give {
                socket: pid,
                to: id,
            }),
            _ => Effect::Close(pid),
        }
    }
    fn next(&mut self) -> Next {
        if self.bool() {
            Next::Continue
        } else {
            Next::Stop(self.text())
        }
    }
    fn batch(&mut self) -> Batch {
        Batch {
            steps: self.list(|g| Step {
                effects: g.list(Self::effect),
                next: g.next(),
            }),
            state: self.maybe(Self::bytes),
            error: self.maybe(Self::text),
        }
    }
    fn changed(&mut self) -> Results {
        self.list(|g| {
            if g.bool() {
                Ok(Migrated {
                    state: g.bytes(),
                    redeliver: g.list(Gen::event),
                })
            } else {
                Err(g.text())
            }
        })
    }
    fn direction(&mut self) -> Direction {
        if self.bool() {
            Direction::Up
        } else {
            Direction::Down
        }
    }
    fn handle(&mut self) -> Handle {
        Handle {
            state: self.bytes(),
            events: self.list(|g| (g.cx(), g.envelope())),
        }
    }
    fn code_change(&mut self) -> CodeChange {
        CodeChange {
            direction: self.direction(),
            vsn: self.text(),
            extra: self.bytes(),
            items: self.list(|g| (g.cx(), g.bytes())),
        }
    }
}

fn frame<'a>(value: &impl Wire<'a>) -> Vec<u8> {
    let mut out = b"what was here before".to_vec();
    encode(value, &mut out);
    out
}

fn round<T: for<'a> Wire<'a> + PartialEq + std::fmt::Debug>(value: &T) -> Vec<u8> {
    let bytes = frame(value);
    assert_eq!(decode::<T>(&bytes, u32::MAX).as_ref(), Ok(value));
    bytes
}

type Results = Vec<Result<Migrated, String>>;

/// Every frame of the contract, with values that the seed chooses.
fn frames(seed: u64) -> Vec<Vec<u8>> {
    let g = &mut Gen(seed);
    let changed = g.changed();
    let started: Result<Started, String> = if g.bool() {
        Ok(Started {
            state: g.bytes(),
            effects: g.list(Gen::effect),
        })
    } else {
        Err(g.text())
    };
    let converted: Result<Option<Event>, String> = Ok(g.maybe(Gen::event));
    let applied: Result<Vec<Effect>, String> = Ok(g.list(Gen::effect));
    vec![
        round(&Init {
            cx: g.cx(),
            args: g.bytes(),
        }),
        round(&started),
        round(&g.handle()),
        round(&g.batch()),
        round(&g.code_change()),
        round(&changed),
        round(&ConvertEvent {
            direction: g.direction(),
            vsn: g.text(),
            event: g.event(),
        }),
        round(&converted),
        round(&Apply {
            cx: g.cx(),
            name: g.text(),
            args: g.bytes(),
        }),
        round(&applied),
        round(&Terminate {
            cx: g.cx(),
            reason: g.text(),
            state: g.bytes(),
        }),
        round(&g.list(Gen::effect)),
    ]
}

/// Reads bytes as every frame there is; what is read is written as the same bytes.
fn read_all(bytes: &[u8]) {
    fn read<T: for<'a> Wire<'a>>(bytes: &[u8]) {
        if let Ok(value) = decode::<T>(bytes, 1_000) {
            assert_eq!(frame(&value), bytes);
        }
    }
    read::<Init>(bytes);
    read::<Result<Started, String>>(bytes);
    read::<Handle>(bytes);
    read::<Batch>(bytes);
    read::<CodeChange>(bytes);
    read::<Results>(bytes);
    read::<ConvertEvent>(bytes);
    read::<Result<Option<Event>, String>>(bytes);
    read::<Apply>(bytes);
    read::<Result<Vec<Effect>, String>>(bytes);
    read::<Terminate>(bytes);
    read::<Vec<Effect>>(bytes);
    let _ = Batch::decode(bytes, 16, 1_000, &mut BatchRoom::default());
}

proptest! {
    #[test]
    fn every_frame_is_read_as_what_was_written(seed: u64) {
        frames(seed);
    }

    #[test]
    fn a_frame_cut_short_or_with_more_behind_it_is_refused(seed: u64, cut: prop::sample::Index) {
        let g = &mut Gen(seed);
        let batch = frame(&g.batch());
        let short = &batch[..cut.index(batch.len())];
        prop_assert!(decode::<Batch>(short, u32::MAX).is_err());
        let mut long = batch.clone();
        long.push(0);
        prop_assert_eq!(decode::<Batch>(&long, u32::MAX), Err(FrameError::Trailing(1)));
        let mut other = batch;
        other[0] = VERSION + 1;
        prop_assert_eq!(decode::<Batch>(&other, u32::MAX), Err(FrameError::Version(VERSION + 1)));
    }

    #[test]
    fn bytes_with_errors_in_them_are_a_value_or_an_error(
        seed: u64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for mut bytes in frames(seed) {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            read_all(&bytes);
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        bytes[0] = VERSION;
        read_all(&bytes);
    }

    #[test]
    fn what_is_written_piece_by_piece_reads_as_a_whole(seed: u64) {
        let g = &mut Gen(seed);
        let (handle, change, batch) = (g.handle(), g.code_change(), g.batch());
        let mut out = Vec::new();
        put_handle(&handle.state, handle.events.iter().map(|(cx, e)| (cx, e)), &mut out);
        prop_assert_eq!(&out, &frame(&handle));
        let items = change.items.iter().map(|(cx, state)| (cx, &state[..]));
        put_code_change(change.direction, &change.vsn, &change.extra, items, &mut out);
        prop_assert_eq!(&out, &frame(&change));
        let mut steps = Steps::begin(&mut out);
        let mut effects = Effects::within(out);
        for step in &batch.steps {
            effects.begin();
            effects.push(&Effect::<Vec<u8>, String>::Monitor(1));
            effects.forget();
            effects.begin();
            for effect in &step.effects {
                prop_assert_eq!(piece_by_piece(&mut effects, effect, Err(())), Err(()));
                prop_assert_eq!(piece_by_piece(&mut effects, effect, Ok(())), Ok(()));
            }
            prop_assert_eq!(&effects.to_vec(), &step.effects);
            steps.push(&step.next, effects.end());
        }
        let mut out = effects.into_frame();
        let error = batch.error.as_deref();
        match &batch.state {
            None => steps.end_unchanged(error, &mut out),
            Some(state) => {
                let before = [&state[..], b"!"].concat();
                let write = |out: &mut Vec<u8>| -> Result<(), ()> {
                    out.extend_from_slice(state);
                    Ok(())
                };
                prop_assert_eq!(steps.end(&before, error, &mut out, write), Ok(()));
            }
        }
        prop_assert_eq!(&out, &frame(&batch));
        let changed = g.changed();
        let mut results = Changed::new(&mut out);
        for result in &changed {
            results.push(|out| {
                out.extend_from_slice(b"part of a state");
                let migrated = result.clone()?;
                out.truncate(out.len() - b"part of a state".len());
                out.extend_from_slice(&migrated.state);
                Ok(migrated.redeliver)
            });
        }
        prop_assert_eq!(&out, &frame(&changed));
    }

    #[test]
    fn borrowed_values_are_the_same_as_owned_ones(seed: u64) {
        let handle = Gen(seed).handle();
        let bytes = frame(&handle);
        let borrowed = decode::<Handle<&[u8], &str>>(&bytes, u32::MAX).expect("reads");
        prop_assert_eq!(borrowed.state, &handle.state[..]);
        prop_assert_eq!(frame(&borrowed), bytes.clone());
    }
}

/// Appends an effect as a handler would, its bytes written where they stay; `end` is how that ends.
fn piece_by_piece(effects: &mut Effects, effect: &Effect, end: Result<(), ()>) -> Result<(), ()> {
    fn write(bytes: &[u8], end: Result<(), ()>) -> impl FnOnce(&mut Vec<u8>) -> Result<(), ()> {
        move |out| {
            out.extend_from_slice(bytes);
            end
        }
    }
    fn borrowed(to: &Dest) -> Dest<&str> {
        match to {
            Dest::Pid(pid) => Dest::Pid(*pid),
            Dest::Name(name) => Dest::Name(name),
        }
    }
    let body: &[u8] = &[];
    match effect {
        Effect::Send(m) => {
            let to = borrowed(&m.to);
            effects.push_with(&Effect::Send(Message { to, body }), write(&m.body, end))
        }
        Effect::Cast(m) => {
            let to = borrowed(&m.to);
            effects.push_with(&Effect::Cast(Message { to, body }), write(&m.body, end))
        }
        Effect::Reply(a) => {
            let (caller, id) = (a.caller, a.id);
            let effect = Effect::Reply(Answer { caller, id, body });
            effects.push_with(&effect, write(&a.body, end))
        }
        Effect::StartTimer(t) => {
            let (id, after_ms) = (t.id, t.after_ms);
            let effect = Effect::StartTimer(StartTimer { id, after_ms, body });
            effects.push_with(&effect, write(&t.body, end))
        }
        Effect::Request(a) => {
            let ask = Ask {
                id: a.id,
                to: borrowed(&a.to),
                body,
                cookie: body,
                timeout: a.timeout,
            };
            effects.push_request(ask, write(&a.body, Ok(())), write(&a.cookie, end))
        }
        other => end.map(|()| effects.push(other)),
    }
}

#[test]
fn a_state_that_is_the_same_again_is_not_written() {
    let mut out = Vec::new();
    let steps = Steps::begin(&mut out);
    let write = |out: &mut Vec<u8>| -> Result<(), ()> {
        out.extend_from_slice(b"same");
        Ok(())
    };
    assert_eq!(steps.end(b"same", None, &mut out, write), Ok(()));
    let batch = decode::<Batch>(&out, 0).expect("reads");
    assert_eq!(batch.state, None);
}

#[test]
fn a_list_that_claims_more_than_the_frame_holds_makes_no_room_for_it() {
    // A batch that says it has four thousand million steps.
    let bytes = [VERSION, 0xff, 0xff, 0xff, 0xff, 0, 0];
    assert_eq!(
        decode::<Batch>(&bytes, u32::MAX),
        Err(FrameError::Truncated)
    );
    let too_many = FrameError::TooMany {
        count: u32::MAX,
        bound: 10,
    };
    assert_eq!(decode::<Batch>(&bytes, 10), Err(too_many));
    let mut room = BatchRoom::default();
    assert_eq!(Batch::decode(&bytes, 10, 1_000, &mut room), Err(too_many));
    // A state that says it has as many bytes.
    let bytes = [VERSION, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0];
    assert_eq!(
        decode::<Batch>(&bytes, u32::MAX),
        Err(FrameError::Truncated)
    );
}

#[test]
fn a_variant_nobody_knows_and_text_that_is_none_are_errors() {
    let effects = [VERSION, 1, 0, 0, 0, 99];
    let unknown = FrameError::Tag {
        what: "Effect",
        tag: 99,
    };
    assert_eq!(decode::<Vec<Effect>>(&effects, 10), Err(unknown));
    let register = [VERSION, 1, 0, 0, 0, 5, 1, 0, 0, 0, 0xff];
    assert_eq!(decode::<Vec<Effect>>(&register, 10), Err(FrameError::Utf8));
}
