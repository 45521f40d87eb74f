//! What each form of message does. It changes the state it is given and asks the `Cx`; nothing else, but for `impure`,
//! which is there to be caught.

use super::core::Core;
use super::forms::Op;
use super::{Answer, Cookie, raw};
use midflight_guest::serde_json::{Value, json};
use midflight_guest::{Cx, Dest, Level, Raw, ReplyTo, Spawn};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Does one object's op; `from` is who waits for an answer.
pub(super) fn perform(
    cx: &mut Cx,
    core: &mut Core,
    code: &str,
    op: Op,
    object: Value,
    from: Option<ReplyTo>,
) -> Result<Answer, String> {
    match op {
        Op::Get => {
            return Ok(Answer::Now(
                json!({ "code": code, "me": cx.me(), "core": core }),
            ));
        }
        Op::Echo if from.is_some() => return Ok(Answer::Now(object)),
        Op::Echo => {
            if let Some(sender) = cx.sender() {
                cx.send(sender, &raw(&object))?;
            }
        }
        Op::Spin { n } => spin(n),
        Op::Loop => spin(u64::MAX),
        Op::Alloc { mib } => drop(black_box(vec![1_u8; mib << 20])),
        Op::Trap => panic!("told to trap"),
        Op::Error { text } => return Err(text),
        Op::ErrorAfter => {
            core.total += 1;
            cx.send(cx.me(), &raw(&json!({ "note": "from a failed handler" })))?;
            return Err("told to fail after a change".to_owned());
        }
        Op::Stop { reason } => cx.stop(&reason),
        Op::Spawn {
            module,
            args,
            name,
            monitor,
            link,
            under,
        } => {
            let mut spawn = Spawn::new(&module, args);
            if let Some(name) = &name {
                spawn = spawn.named(name);
            }
            if monitor {
                spawn = spawn.monitored();
            }
            if link {
                spawn = spawn.linked();
            }
            if let Some(under) = &under {
                spawn = spawn.under(under);
            }
            let pid = cx.spawn(spawn)?;
            core.children.push(pid);
            return Ok(Answer::Now(json!({ "pid": pid })));
        }
        Op::Send {
            to,
            times,
            from,
            body,
        } => {
            let to = Dest::from(to);
            for n in 0..times.unwrap_or(1) {
                cx.send(to.clone(), &numbered(&body, from.map(|from| from + n)))?;
            }
        }
        Op::Cast {
            to,
            times,
            from,
            body,
        } => {
            let to = Dest::from(to);
            for n in 0..times.unwrap_or(1) {
                cx.cast(to.clone(), &numbered(&body, from.map(|from| from + n)))?;
            }
        }
        Op::Ask {
            to,
            body,
            timeout_ms,
            cookie,
        } => {
            let timeout = Duration::from_millis(timeout_ms.unwrap_or(0));
            cx.request(
                to,
                &raw(&body),
                &Cookie::Keep(cookie.unwrap_or_default()),
                timeout,
            )?;
        }
        Op::Relay {
            to,
            body,
            timeout_ms,
        } => {
            if let Some(from) = from {
                let timeout = Duration::from_millis(timeout_ms.unwrap_or(0));
                cx.request(to, &raw(&body), &Cookie::Relay(from), timeout)?;
                return Ok(Answer::Later);
            }
        }
        Op::Later => {
            core.put_off.extend(from);
            return Ok(Answer::Later);
        }
        Op::Answer { body } => {
            if let Some(to) = core.put_off.pop_front() {
                cx.reply(to, &raw(&body))?;
            }
        }
        Op::Ping { to, n } => {
            core.pings += 1;
            if n > 0 {
                cx.cast(
                    to,
                    &raw(&json!({ "op": "ping", "to": cx.me(), "n": n - 1 })),
                )?;
            }
        }
        Op::Timer { after_ms, body } => {
            let id = cx.start_timer(Duration::from_millis(after_ms), &raw(&body))?;
            return Ok(Answer::Now(json!({ "id": id })));
        }
        Op::Cancel { id } => cx.cancel_timer(id),
        Op::Monitor { pid } => cx.monitor(pid),
        Op::Demonitor { pid } => cx.demonitor(pid),
        Op::Register { name } => cx.register(&name),
        Op::Unregister { name } => cx.unregister(&name),
        Op::Whereis { name } => return Ok(Answer::Now(json!({ "pid": cx.whereis(&name) }))),
        Op::Grow { bytes } => core.pad.resize(bytes, b'x'),
        Op::Log { n, text } => (0..n).for_each(|_| cx.log(Level::Info, &text)),
        Op::Flag { on } => core.flag = on,
        Op::Add { n } => {
            core.total += n;
            return Ok(Answer::Now(json!({ "total": core.total })));
        }
        Op::Random => return Ok(Answer::Now(json!({ "random": cx.random() }))),
        Op::Now => {
            return Ok(Answer::Now(
                json!({ "wall": cx.now_wall(), "mono": cx.now_mono() }),
            ));
        }
        Op::Impure => {
            static SCRATCH: AtomicU64 = AtomicU64::new(0);
            core.total += 1 + SCRATCH.fetch_add(1, Ordering::Relaxed);
        }
        Op::LastWords { to } => core.last_words = Some(to.into()),
        Op::Listen { port, active, echo } => {
            core.active = Some(active);
            core.echo = echo.unwrap_or(true);
            cx.listen(port);
        }
        Op::Active { socket, mode } => cx.set_active(socket, mode),
        Op::Write {
            socket,
            text,
            times,
        } => cx.write(socket, text.repeat(times.unwrap_or(1) as usize)),
        Op::Close { socket } => cx.close(socket),
        Op::Give { socket, to } => cx.give(socket, to),
        Op::Connect {
            host,
            port,
            timeout_ms,
            active,
            echo,
        } => {
            core.active = active;
            core.echo = echo.unwrap_or(false);
            cx.connect(&host, port, Duration::from_millis(timeout_ms.unwrap_or(0)));
        }
        Op::Link { pid } => cx.link(pid),
        Op::Unlink { pid } => cx.unlink(pid),
        Op::TrapExit { on } => cx.trap_exit(on),
        Op::Exit { pid, reason } => cx.exit(pid, &reason),
        Op::Join { group } => cx.join(&group),
        Op::Leave { group } => cx.leave(&group),
        Op::Members { group } => {
            return Ok(Answer::Now(json!({ "pids": cx.members(&group) })));
        }
        Op::StopChild { supervisor, child } => cx.stop_child(&supervisor, child),
        Op::RestartChild { supervisor, child } => cx.restart_child(&supervisor, child),
    }
    Ok(Answer::Ok)
}

/// Burns so many rounds of arithmetic.
pub fn spin(rounds: u64) {
    let mut x = 1_u64;
    for round in 0..rounds {
        x = black_box(x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(round));
    }
}

fn numbered(body: &Value, seq: Option<u64>) -> Raw {
    let mut body = body.clone();
    if let (Some(seq), Some(object)) = (seq, body.as_object_mut()) {
        object.insert("seq".to_owned(), json!(seq));
    }
    raw(&body)
}
