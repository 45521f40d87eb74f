//! The configuration of a host's agent, from a template: `{{node}}` and the like become what this host has, and so do the
//! variables of the inventory. A name that nothing is known of is an error with its line, not an empty text.

use std::collections::BTreeMap;

/// The template when none is given: the Unix socket, and for hosts with a certificate TCP too.
pub const DEFAULT: &str = "# Written by midflight bootstrap.
node: {{node}}
data_dir: {{data}}
boot: {{etc}}/release.tar
allowed_signers: {{etc}}/allowed_signers
listen:
  unix: {path: {{socket}}, peers: {\"{{user}}\": operator}}
";

/// What [`DEFAULT`] has more where hosts get a certificate.
pub const DEFAULT_TCP: &str =
    "  tcp: {address: \"0.0.0.0:{{port}}\", cert: {{etc}}/agent.pem, key: {{etc}}/agent.key, client_ca: {{etc}}/ca.pem}
";

/// The template with the values of one host.
///
/// # Errors
/// What is wrong, with its line.
pub fn render(template: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut text = String::with_capacity(template.len());
    for (number, line) in template.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after
                .split_once("}}")
                .ok_or_else(|| format!("line {}: `{{{{` without `}}}}`", number + 1))?;
            let name = name.trim();
            let value = values
                .get(name)
                .ok_or_else(|| format!("line {}: nothing is known of {name:?}", number + 1))?;
            if value.contains(['\n', '\r']) {
                return Err(format!("line {}: {name:?} has several lines", number + 1));
            }
            text.push_str(before);
            text.push_str(value);
            rest = after;
        }
        text.push_str(rest);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> BTreeMap<String, String> {
        let values = [("node", "web1"), ("etc", "/e"), ("n", "1\n2")];
        values
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn names_become_values_and_everything_else_stays() {
        let text = render("a: {b: {{ node }}}\n{{etc}}/{{node}}", &values());
        assert_eq!(text.unwrap(), "a: {b: web1}\n/e/web1");
    }

    #[test]
    fn what_is_unknown_open_or_would_break_the_line_is_refused_with_its_line() {
        let refused = |text| render(text, &values()).unwrap_err();
        assert!(refused("a\n{{nodes}}").starts_with("line 2: nothing is known of \"nodes\""));
        assert!(refused("{{node").starts_with("line 1: `{{`"));
        assert!(refused("x: {{n}}").contains("several lines"));
    }
}
