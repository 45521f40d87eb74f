//! Lengths of time as people write them: a whole number and its unit, `30s`. Shown in the greatest unit that leaves a whole
//! number. What is too long is for the caller to say.

/// Names of units, smallest first, and how many of the smallest each is.
pub(super) type Units = [(&'static str, u64)];

/// A number of the smallest unit, as text; `zero` for none of it.
pub(super) fn show(number: u64, units: &Units, zero: &str) -> String {
    let fits = |(_, unit): &&(&str, u64)| number != 0 && number.is_multiple_of(*unit);
    match units.iter().rev().find(fits) {
        Some((name, unit)) => format!("{}{name}", number / unit),
        None => zero.to_owned(),
    }
}

/// The text as a number of the smallest unit, `u64::MAX` when it is more than that; `None` when it is not written so.
pub(super) fn read(text: &str, units: &Units) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..split].parse().ok()?;
    let (_, unit) = units.iter().find(|(name, _)| *name == &text[split..])?;
    Some(number.saturating_mul(*unit))
}
