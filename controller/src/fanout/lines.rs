//! Bytes as they come, as lines as they are shown: whole, or in pieces where one is longer than a bound. What the last line
//! lacks is a line break, not its text.

/// Most bytes of one line; a longer one is shown in pieces.
pub const LONGEST: usize = 64 << 10;

/// One stream of one node.
#[derive(Debug, Default)]
pub struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// Takes bytes, and gives what is complete, without line breaks.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(Vec<u8>)) {
        while !bytes.is_empty() {
            let room = LONGEST - self.open.len();
            let end = bytes.iter().take(room + 1).position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(bytes.len().min(room));
            self.open.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if end.is_some() {
                bytes = &bytes[1..];
            }
            if end.is_some() || self.open.len() >= LONGEST {
                line(std::mem::take(&mut self.open));
            }
        }
    }

    /// What the last line lacks a line break after, if there is such a line.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.open);
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk, |line| all.push(line));
        }
        all.extend(lines.rest());
        all.into_iter()
            .map(|line| String::from_utf8(line).unwrap())
            .collect()
    }

    #[test]
    fn lines_are_whole_however_their_bytes_come() {
        assert_eq!(split(&[b"a\nb", b"c\n\nd"]), ["a", "bc", "", "d"]);
        assert_eq!(split(&[b"a\n"]), ["a"]);
        assert_eq!(split(&[]), [""; 0]);
    }

    #[test]
    fn a_line_that_is_too_long_comes_in_pieces_and_one_that_just_fits_does_not() {
        let long = [vec![b'x'; LONGEST + 3], b"\ny".to_vec()].concat();
        let lengths: Vec<usize> = split(&[&long]).iter().map(String::len).collect();
        assert_eq!(lengths, [LONGEST, 3, 1]);
        let fits = [vec![b'x'; LONGEST], b"\ny".to_vec()].concat();
        let lengths: Vec<usize> = split(&[&fits]).iter().map(String::len).collect();
        assert_eq!(lengths, [LONGEST, 1]);
    }
}
