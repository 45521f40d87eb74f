//! `midflight-bench [GUESTS]`: what one node needs for a call, a cast, an idle actor and an upgrade, beside OTP
//! doing the same in the same run when Erlang is installed. One JSON object a line on stdout: figures first, then ratios
//! (Midflight over OTP). Casts and calls go from actor to actor; nothing is driven from a loop of the host.
//!
//! Each size of an upgrade runs in a process of its own, so that memory means what it says. `midflight-bench GUESTS
//! --messages [call|cast]` and `midflight-bench GUESTS --upgrades N` are those processes, for a profile of one of them.

mod figure;
mod messages;
mod node;
mod otp;
mod upgrades;

use std::{error::Error, path::PathBuf, process::Command};

use figure::Figure;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Actors of the upgrades that are compared with OTP's.
const SIZES: [u64; 2] = [1_000, 100_000];
const MILLION: u64 = 1_000_000;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let guests = args
        .next()
        .map_or_else(|| PathBuf::from("guest/out"), PathBuf::from);
    match args.next().as_deref() {
        Some("--upgrades") => {
            let n = args
                .next()
                .ok_or("--upgrades needs a number of actors")?
                .parse()?;
            upgrades::run(&guests, n)?.iter().for_each(Figure::print);
            return Ok(());
        }
        Some("--messages") => {
            messages::run(&guests, args.next().as_deref())?
                .iter()
                .for_each(Figure::print);
            return Ok(());
        }
        Some(other) => {
            return Err(format!("{other}: --messages, or --upgrades and a number").into());
        }
        None => {}
    }
    let child = |args: &[&str]| -> Result<Vec<Figure>> {
        let guests = guests
            .to_str()
            .ok_or("the folder of the guests is not UTF-8")?;
        let mut command = Command::new(std::env::current_exe()?);
        figure::read(command.arg(guests).args(args))
    };
    let mut figures = child(&["--messages"])?;
    for n in SIZES {
        figures.extend(child(&["--upgrades", &n.to_string()])?);
        figures.extend(otp::run(n)?);
    }
    figures.extend(child(&["--upgrades", &MILLION.to_string()])?);
    figure::growth(&figures, SIZES[1], MILLION)
        .iter()
        .for_each(Figure::print);
    figure::ratios(&figures);
    Ok(())
}
