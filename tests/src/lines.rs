//! A client that speaks lines over one connection and keeps it open.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use crate::SOON;

/// One connection.
pub struct Client {
    out: TcpStream,
    lines: BufReader<TcpStream>,
    seq: u64,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect(address: &str, port: u16) -> Self {
        let out =
            TcpStream::connect((address, port)).unwrap_or_else(|e| panic!("{address}:{port}: {e}"));
        out.set_read_timeout(Some(SOON))
            .expect("a timeout can be set");
        let lines = BufReader::new(out.try_clone().expect("a socket can be cloned"));
        Self { out, lines, seq: 0 }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, text: &str) {
        self.out
            .write_all(text.as_bytes())
            .expect("the connection is open");
    }

    /// Reads one line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).expect("an answer comes");
        assert!(read > 0, "the connection was closed");
        line.trim_end().to_owned()
    }

    /// Reads the whole lines that still come before the connection ends.
    pub fn rest(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        loop {
            let mut line = String::new();
            // A node that ended with bytes unread resets the connection: that too is its end.
            match self.lines.read_line(&mut line) {
                Ok(_) if line.ends_with('\n') => rest.push(line.trim_end().to_owned()),
                _ => return rest,
            }
        }
    }

    /// Sends a line and reads the answer.
    pub fn echo(&mut self, text: &str) -> String {
        self.send(&format!("{text}\n"));
        self.line()
    }

    /// Asks the gateway; the answer without `ok` and the sequence number.
    pub fn ask(&mut self, verb: &str, what: &str) -> String {
        self.begin(verb, what);
        self.answer()
    }

    /// Sends a request to the gateway and does not wait.
    pub fn begin(&mut self, verb: &str, what: &str) {
        self.seq += 1;
        let line = format!("{verb} {} {what}\n", self.seq);
        self.send(&line);
    }

    /// Reads the answer to the last request.
    pub fn answer(&mut self) -> String {
        let line = self.line();
        let wanted = format!("ok {} ", self.seq);
        line.strip_prefix(&wanted)
            .unwrap_or_else(|| panic!("{line:?} does not begin with {wanted:?}"))
            .to_owned()
    }
}
