//! One line of the gateway's protocol. Parsing says what is wrong with a line in words that fit its answer.

/// A line that asks for something.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub seq: u64,
    pub request: Request<'a>,
}

/// For what it asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Inc(&'a str),
    Get(&'a str),
    Greet(&'a str),
    Pi,
}

/// Reads a line without its newline; a carriage return before it is ignored.
pub fn parse(line: &[u8]) -> Result<Line<'_>, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "not text")?.trim();
    let mut words = text.splitn(3, ' ');
    let (verb, seq, rest) = (
        words.next().unwrap_or(""),
        words.next(),
        words.next().map(str::trim),
    );
    let name = rest
        .filter(|name| !name.is_empty())
        .ok_or("a name is missing");
    let request = match verb {
        "inc" => name.map(Request::Inc),
        "get" => name.map(Request::Get),
        "greet" => name.map(Request::Greet),
        "pi" => Ok(Request::Pi),
        _ => return Err("expected inc, get, greet or pi"),
    };
    let seq = seq
        .ok_or("a sequence number is missing")?
        .parse()
        .map_err(|_| "the sequence number is no number")?;
    Ok(Line {
        seq,
        request: request?,
    })
}
