//! What a verb prints and ends with, as a value: made in the same way wherever the verb is answered, here or by a server.

use crate::exit::Exit;

/// The answer of a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// For people.
    pub text: String,
    /// With `--output json`: one object a line.
    pub json: String,
    /// How the verb ends.
    pub exit: Exit,
}

/// Values as JSON, one a line.
#[must_use]
pub fn json_lines<T: serde::Serialize>(values: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for value in values {
        // Values of this crate are maps with text for keys, which always serialise.
        text.push_str(&serde_json::to_string(&value).unwrap_or_default());
        text.push('\n');
    }
    text
}
