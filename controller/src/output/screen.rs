//! A screen of its own for a table that lives, and the keys that are typed meanwhile. Dropped, the terminal is as it was.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc;

/// Rows when the terminal does not say.
const ROWS: usize = 24;
const COLUMNS: usize = 80;

/// The alternate screen, without a cursor.
pub struct Screen(());

impl Screen {
    /// Leaves what was printed so far behind.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn enter() -> io::Result<Self> {
        let screen = Self(());
        write("\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }

    /// Lines that fit.
    #[must_use]
    pub fn rows(&self) -> usize {
        size().0
    }

    /// Draws this in place of what was drawn before; what does not fit is cut.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn draw(&mut self, text: &str) -> io::Result<()> {
        let (rows, columns) = size();
        let mut out = String::from("\x1b[H");
        for (n, line) in text.lines().take(rows).enumerate() {
            if n > 0 {
                out.push_str("\r\n");
            }
            out.extend(line.chars().take(columns));
            out.push_str("\x1b[K");
        }
        out.push_str("\x1b[J");
        write(&out)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to tell that it failed.
        let _ = write("\x1b[?25h\x1b[?1049l");
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => (ROWS, COLUMNS),
    }
}

/// Keys as they are typed, not shown. Without a terminal on stdin there are none, and none is waited for.
pub struct Keys {
    typed: mpsc::Receiver<u8>,
    before: Option<Termios>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    /// Kept so that the channel of a reader that does not exist is not closed.
    _typist: mpsc::Sender<u8>,
}

impl Keys {
    /// Begins to read.
    ///
    /// # Errors
    /// When the terminal refuses, or there is no thread.
    pub fn read() -> io::Result<Self> {
        let (typist, typed) = mpsc::channel(8);
        let mut keys = Self {
            typed,
            before: None,
            stop: Arc::default(),
            reader: None,
            _typist: typist.clone(),
        };
        let Ok(before) = tcgetattr(io::stdin()) else {
            return Ok(keys);
        };
        let mut each = before.clone();
        each.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        // A read ends after a tenth of a second without a key, so that the thread hears that it is to stop.
        each.special_codes[SpecialCodeIndex::VMIN] = 0;
        each.special_codes[SpecialCodeIndex::VTIME] = 1;
        tcsetattr(io::stdin(), OptionalActions::Now, &each)?;
        keys.before = Some(before);
        let stop = keys.stop.clone();
        let read = move || {
            let mut key = [0];
            while !stop.load(Ordering::Relaxed) {
                match io::stdin().lock().read(&mut key) {
                    // Typed faster than it is heard, a key is lost.
                    Ok(1) => drop(typist.try_send(key[0])),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        };
        keys.reader = Some(
            std::thread::Builder::new()
                .name("keys".into())
                .spawn(read)?,
        );
        Ok(keys)
    }

    /// The next key.
    pub async fn next(&mut self) -> Option<u8> {
        self.typed.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // A thread that panicked has said so already.
            let _ = reader.join();
        }
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
