//! A module as the runtime runs it: the core module inside its component, with the functions of the contract by their
//! names, and those of `host` that it imports. Frames are written and read where they lie in the module's memory: no
//! allocation in the guest and one way in for a call, where the component model would need three. What the frames say is
//! checked by whoever reads them.

use midflight_contract::Place;
use midflight_patch::IMPORTS;
use wasmtime::{
    Caller, Engine, ExternType, InstancePre, Linker, Memory, Module, Result, Store, TypedFunc,
    ValType, bail, error::Context, format_err,
};

use crate::{bindings::Level, door::Door};

/// A frame that is longer than this has room for one call only.
const KEPT_BYTES: u32 = 1 << 20;
/// The least that is asked for.
const LEAST_BYTES: u32 = 4 << 10;

/// A function that takes a frame and gives one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    Init,
    Handle,
    CodeChange,
    ConvertEvent,
    Apply,
    Terminate,
    OnLoad,
    Describe,
    Parse,
}

/// Their names, in that order.
const CALLS: [&str; 9] = [
    "init",
    "handle",
    "code-change",
    "convert-event",
    "apply",
    "terminate",
    "on-load",
    "describe",
    "parse",
];

/// A core module that fits the contract, to be instantiated.
pub(crate) fn link(linker: &Linker<Door>, module: &Module) -> Result<InstancePre<Door>> {
    let function = |name: &str, result: &ValType| match module.get_export(name) {
        Some(ExternType::Func(ty))
            if matches!(ty.params().collect::<Vec<_>>()[..], [ValType::I32])
                && ty.results().len() == 1
                && ty.results().all(|r| ValType::eq(&r, result)) =>
        {
            Ok(())
        }
        _ => bail!("its core module does not export {name} as the contract has it"),
    };
    function("room", &ValType::I32)?;
    for name in CALLS {
        function(name, &ValType::I64)?;
    }
    match module.get_export("memory") {
        Some(ExternType::Memory(memory)) if !memory.is_64() && !memory.is_shared() => {}
        _ => bail!("its core module does not export a memory as the contract has it"),
    }
    linker.instantiate_pre(module)
}

/// The functions of one instance.
pub(crate) struct Guest {
    memory: Memory,
    room: TypedFunc<u32, u32>,
    calls: [TypedFunc<u32, u64>; CALLS.len()],
    /// Where frames may be written, and how many bytes of them.
    at: u32,
    bytes: u32,
}

impl Guest {
    pub(crate) fn new(pre: &InstancePre<Door>, store: &mut Store<Door>) -> Result<Self> {
        let instance = pre.instantiate(&mut *store)?;
        // What a compiler other than rustc may leave to be run first.
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
            initialize.call(&mut *store, ())?;
        }
        let memory = instance.get_memory(&mut *store, "memory");
        let room = instance.get_typed_func(&mut *store, "room")?;
        let mut calls = Vec::with_capacity(CALLS.len());
        for name in CALLS {
            calls.push(instance.get_typed_func(&mut *store, name)?);
        }
        Ok(Self {
            memory: memory.context("no memory")?,
            room,
            calls: calls
                .try_into()
                .map_err(|_| format_err!("no such functions"))?,
            at: 0,
            bytes: 0,
        })
    }

    /// Runs a function on a frame. The frame that answers is `read` before the next call.
    pub(crate) fn call(
        &mut self,
        store: &mut Store<Door>,
        call: Call,
        frame: &[u8],
    ) -> Result<Place> {
        let bytes = u32::try_from(frame.len()).context("a frame of 4 GiB")?;
        if bytes > self.bytes {
            let room = bytes.checked_next_power_of_two().unwrap_or(bytes);
            let room = room.max(LEAST_BYTES);
            self.at = self.room.call(&mut *store, room)?;
            self.bytes = if room > KEPT_BYTES { 0 } else { room };
        }
        let at = self.at as usize;
        let Some(to) = self
            .memory
            .data_mut(&mut *store)
            .get_mut(at..at + frame.len())
        else {
            bail!("it gave room outside of its memory");
        };
        to.copy_from_slice(frame);
        let place = self.calls[call as usize].call(&mut *store, bytes)?;
        Ok(place.into())
    }

    /// The frame that a call gave; none: it lies outside of the module's memory.
    pub(crate) fn read<'s>(&self, store: &'s Store<Door>, place: Place) -> Option<&'s [u8]> {
        let (at, bytes) = (place.at as usize, place.bytes as usize);
        self.memory.data(store).get(at..at + bytes)
    }
}

/// What modules may import: the functions of `host`, as the component model would lower them.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<Door>> {
    let [host] = IMPORTS;
    let mut linker = Linker::new(engine);
    linker.func_wrap(
        host,
        "log",
        |mut caller: Caller<'_, Door>, level: u32, at: u32, bytes: u32| -> Result<()> {
            let level = match level {
                0 => Level::Debug,
                1 => Level::Info,
                2 => Level::Warn,
                3 => Level::Error,
                other => bail!("{other} is no level of a log line"),
            };
            let line = text(&mut caller, at, bytes)?;
            caller.data_mut().log(level, line);
            Ok(())
        },
    )?;
    linker.func_wrap(
        host,
        "whereis",
        |mut caller: Caller<'_, Door>, at: u32, bytes: u32, to: u32| -> Result<()> {
            let name = text(&mut caller, at, bytes)?;
            let pid = caller.data_mut().whereis(&name)?;
            // option<u64>: which, and eight bytes further on the value.
            let mut option = [0; 16];
            option[0] = u8::from(pid.is_some());
            option[8..].copy_from_slice(&pid.unwrap_or_default().to_le_bytes());
            write(&mut caller, to, &option)
        },
    )?;
    linker.func_wrap(
        host,
        "members",
        |mut caller: Caller<'_, Door>, at: u32, bytes: u32, to: u32| -> Result<()> {
            let group = text(&mut caller, at, bytes)?;
            let pids = caller.data_mut().members(&group)?;
            let list: Vec<u8> = pids.iter().flat_map(|pid| pid.to_le_bytes()).collect();
            let at = allocate(&mut caller, list.len() as u32)?;
            write(&mut caller, at, &list)?;
            // list<u64>: where it lies, and how many.
            let mut place = [0; 8];
            place[..4].copy_from_slice(&at.to_le_bytes());
            place[4..].copy_from_slice(&(pids.len() as u32).to_le_bytes());
            write(&mut caller, to, &place)
        },
    )?;
    linker.func_wrap(
        host,
        "reserve",
        |mut caller: Caller<'_, Door>| -> Result<u64> { caller.data_mut().reserve() },
    )?;
    Ok(linker)
}

fn memory(caller: &mut Caller<'_, Door>) -> Result<Memory> {
    let memory = caller.get_export("memory").and_then(|e| e.into_memory());
    memory.context("it called the host before it had a memory")
}

fn text(caller: &mut Caller<'_, Door>, at: u32, bytes: u32) -> Result<String> {
    let memory = memory(caller)?;
    let range = at as usize..at as usize + bytes as usize;
    let Some(bytes) = memory.data(&*caller).get(range) else {
        bail!("it gave text outside of its memory");
    };
    Ok(std::str::from_utf8(bytes)?.to_owned())
}

fn write(caller: &mut Caller<'_, Door>, at: u32, bytes: &[u8]) -> Result<()> {
    let memory = memory(caller)?;
    let at = at as usize;
    let Some(to) = memory.data_mut(&mut *caller).get_mut(at..at + bytes.len()) else {
        bail!("it asked for an answer outside of its memory");
    };
    to.copy_from_slice(bytes);
    Ok(())
}

/// Room for numbers of 64 bits, which the module frees.
fn allocate(caller: &mut Caller<'_, Door>, bytes: u32) -> Result<u32> {
    const NEW: (u32, u32) = (0, 0);
    let realloc = caller
        .get_export("cabi_realloc")
        .and_then(|e| e.into_func());
    let realloc = realloc.context("it exports no cabi_realloc")?;
    let realloc = realloc.typed::<(u32, u32, u32, u32), u32>(&*caller)?;
    realloc.call(&mut *caller, (NEW.0, NEW.1, 8, bytes))
}
