//! Tokens, environment variables and `~`, as `ssh_config(5)` (TOKENS, ENVIRONMENT VARIABLES) lets each keyword have them.

use std::fmt::Write as _;
use std::path::PathBuf;

use sha1::{Digest, Sha1};

use crate::account::Account;

/// The tokens of most keywords that take a path or a command.
pub(crate) const STANDARD: &str = "%CdhijkLlnpru";
/// The tokens of `ProxyCommand` and `ProxyJump`.
pub(crate) const PROXY: &str = "%hnpr";
/// The tokens of `HostName`.
pub(crate) const HOSTNAME: &str = "%h";

/// What the tokens stand for.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    pub account: &'a Account,
    /// `%n`
    pub alias: &'a str,
    /// `%h`
    pub hostname: &'a str,
    /// `%k`
    pub key_name: &'a str,
    /// `%p`
    pub port: u16,
    /// `%r`
    pub user: &'a str,
    /// `%j`: the last hop of `ProxyJump`, or nothing.
    pub jump: &'a str,
}

impl Tokens<'_> {
    /// Replaces the tokens in `allowed`, and `${NAME}` where `environment` says so, in one pass.
    pub(crate) fn expand(
        &self,
        text: &str,
        allowed: &str,
        environment: bool,
    ) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['%', '$']) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if rest.starts_with('$') {
                let (value, after) = match environment {
                    true => variable(rest)?,
                    false => ("$".to_owned(), &rest[1..]),
                };
                out.push_str(&value);
                rest = after;
                continue;
            }
            let token = rest[1..]
                .chars()
                .next()
                .ok_or("a % stands at the end: write %% for a percent sign")?;
            if !allowed.contains(token) {
                return Err(format!(
                    "there is no token %{token} here: write %% for a percent sign"
                ));
            }
            self.token(token, &mut out);
            rest = &rest[1 + token.len_utf8()..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn token(&self, token: char, out: &mut String) {
        let account = self.account;
        match token {
            'C' => {
                let parts = [
                    account.hostname.as_str(),
                    self.hostname,
                    &self.port.to_string(),
                    self.user,
                    self.jump,
                ];
                let mut hash = Sha1::new();
                parts.iter().for_each(|part| hash.update(part.as_bytes()));
                for byte in hash.finalize() {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "{byte:02x}");
                }
            }
            'd' => out.push_str(&account.home.to_string_lossy()),
            'h' => out.push_str(self.hostname),
            'i' => out.push_str(&account.uid.to_string()),
            'j' => out.push_str(self.jump),
            'k' => out.push_str(self.key_name),
            'L' => out.push_str(account.short_hostname()),
            'l' => out.push_str(&account.hostname),
            'n' => out.push_str(self.alias),
            'p' => out.push_str(&self.port.to_string()),
            'r' => out.push_str(self.user),
            'u' => out.push_str(&account.user),
            other => out.push(other),
        }
    }

    /// A path with `~`, tokens and variables.
    pub(crate) fn path(&self, text: &str) -> Result<PathBuf, String> {
        self.expand(&tilde(text, self.account)?, STANDARD, true)
            .map(PathBuf::from)
    }
}

/// The variable that `text` begins with, as `${NAME}`, and what follows it; a `$` without a brace stands for itself.
fn variable(text: &str) -> Result<(String, &str), String> {
    let Some(inner) = text.strip_prefix("${") else {
        return Ok(("$".to_owned(), &text[1..]));
    };
    let (name, after) = inner.split_once('}').ok_or("a ${ is not closed")?;
    match std::env::var(name) {
        Ok(value) => Ok((value, after)),
        Err(_) => Err(format!("the environment variable {name} is not set")),
    }
}

/// Replaces `${NAME}` alone.
pub(crate) fn environment(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let (value, after) = variable(&rest[at..])?;
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Replaces a `~` or `~user` at the start.
pub(crate) fn tilde(text: &str, account: &Account) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('~') else {
        return Ok(text.to_owned());
    };
    let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let home = account
        .home_of(name)
        .ok_or_else(|| format!("there is no user {name}"))?;
    Ok(home.join(rest).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_that_the_keyword_has_and_variables_are_not_read_again() {
        let account = Account {
            user: "me".into(),
            uid: 7,
            home: "/home/me".into(),
            hostname: "here.example".into(),
        };
        let tokens = Tokens {
            account: &account,
            alias: "web",
            hostname: "web.example",
            key_name: "key",
            port: 22,
            user: "root",
            jump: "",
        };
        let all = tokens.expand("%% %d %h %i %j %k %L %l %n %p %r %u", STANDARD, false);
        assert_eq!(
            all.as_deref(),
            Ok("% /home/me web.example 7  key here here.example web 22 root me")
        );
        assert!(tokens.expand("%d", PROXY, false).is_err());
        assert!(tokens.expand("100%", STANDARD, false).is_err());
        assert_eq!(
            tokens.expand("$x ${y}", STANDARD, false).as_deref(),
            Ok("$x ${y}")
        );
        assert!(
            tokens
                .expand("${NO_SUCH_VARIABLE}", STANDARD, true)
                .is_err()
        );
        assert!(tokens.expand("${PATH", STANDARD, true).is_err());
        assert_eq!(
            tokens.path("~/k").expect("a path"),
            PathBuf::from("/home/me/k")
        );
        assert!(tokens.path("~no such user/k").is_err());
    }
}
