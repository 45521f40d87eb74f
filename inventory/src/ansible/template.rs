//! Templates that only name variables, such as `{{ bastion }}`, filled in.
//!
//! That is what connection settings mostly are where they are templates at all. Filters, lookups, expressions and
//! statements are not evaluated: they are refused, so that nothing is ever connected to by guess.

use crate::ansible::VAULT;
use crate::value::Value;

/// Templates in the variables of templates, so many deep.
const DEPTH: usize = 10;
/// Bytes of a filled template.
const LENGTH: usize = 4096;

/// Whether Ansible would take a text for a template.
pub(super) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

/// Fills a text in; the error is what the text is.
pub(super) fn fill<'a>(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<&'a Value>,
) -> Result<String, String> {
    let mut filled = String::new();
    fill_into(text, lookup, DEPTH, &mut filled)?;
    Ok(filled)
}

fn fill_into<'a>(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<&'a Value>,
    depth: usize,
    filled: &mut String,
) -> Result<(), String> {
    if depth == 0 {
        return Err("a template that leads back to itself, or is nested too deep".to_owned());
    }
    let beyond = "a template that does more than name variables, which is not evaluated";
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        let (before, template) = rest.split_at(at);
        let Some((name, after)) = template[2..].split_once("}}") else {
            return Err(beyond.to_owned());
        };
        let name = name.trim_matches(' ');
        let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let well_formed =
            name.chars().all(of_name) && !name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || !well_formed || is_template(before) {
            return Err(beyond.to_owned());
        }
        filled.push_str(before);
        match lookup(name) {
            Some(Value::Text(value)) => fill_into(value, lookup, depth - 1, filled)?,
            Some(Value::Int(number)) => filled.push_str(&number.to_string()),
            Some(value) if value.get(VAULT).is_some() => {
                return Err(format!(
                    "a template with {name}, which ansible-vault has encrypted"
                ));
            }
            Some(_) => {
                return Err(format!(
                    "a template with {name}, which is neither text nor a number"
                ));
            }
            None => return Err(format!("a template with {name}, which no source sets")),
        }
        if filled.len() > LENGTH {
            return Err("a template that becomes too long".to_owned());
        }
        rest = after;
    }
    if is_template(rest) {
        return Err(beyond.to_owned());
    }
    filled.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let values = [
            ("a", Value::Text("x{{ b }}".to_owned())),
            ("b", Value::Int(7)),
            ("c", Value::Text("{{c}}".to_owned())),
            ("d", Value::List(Vec::new())),
            ("e", Value::Text("{{ f }}{{ f }}".repeat(40))),
            ("f", Value::Text("f".repeat(60))),
        ];
        let lookup = |name: &str| {
            let found = values.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value)
        };
        fill(text, &lookup).unwrap_or_else(|reason| format!("! {reason}"))
    }

    #[test]
    fn variables_are_filled_in_and_all_else_is_refused() {
        for (text, expected) in [
            ("-J {{ a }},{{b}}.eu", "-J x7,7.eu"),
            (
                "{{ c }}",
                "! a template that leads back to itself, or is nested too deep",
            ),
            (
                "{{ d }}",
                "! a template with d, which is neither text nor a number",
            ),
            ("{{ e }}", "! a template that becomes too long"),
            ("{{ g }}", "! a template with g, which no source sets"),
        ] {
            assert_eq!(filled(text), expected);
        }
        for text in [
            "{{ a | lower }}",
            "{{ a.b }}",
            "{{",
            "{% if a %}",
            "{# a #}{{ a }}",
            "{{ 1 }}",
            "{{}}",
        ] {
            assert!(filled(text).contains("does more than name"), "{text}");
        }
    }
}
