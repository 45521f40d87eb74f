//! What the probe does outside any actor, when a patch says so.
//!
//! ```text
//! tell            {"to":N, ..}           casts {"applied":args, "code":CODE} to N
//! config_change   {"changed":{..}, ..}   the same, to the name that the new or changed key `tell` holds, if one does
//! exit            {"pid":PID}            sends it the exit signal `told to`
//! refuse | trap | watch                  an error; a panic; asks for what apply may not
//! ```

use super::raw;
use midflight_guest::serde_json::{Value, json};
use midflight_guest::{Cx, Dest, Json, Pid};

pub fn apply(cx: &mut Cx, code: &str, name: &str, args: Json<'_>) -> Result<(), String> {
    let args: Value = args.decode()?;
    let to = match name {
        "tell" => &args["to"],
        "config_change" if args["new"]["tell"].is_string() => &args["new"]["tell"],
        "config_change" => &args["changed"]["tell"],
        "exit" => {
            cx.exit(Pid(args["pid"].as_u64().unwrap_or_default()), "told to");
            return Ok(());
        }
        "watch" => {
            cx.monitor(Pid(1));
            return Ok(());
        }
        "trap" => panic!("told to trap"),
        _ => return Err(format!("told to refuse {name}")),
    };
    match to.as_str() {
        Some(to) => {
            let told = json!({ "applied": args, "code": code });
            cx.cast(Dest::Name(to.to_owned()), &raw(&told))
        }
        None => Ok(()),
    }
}
