//! Where a demo lives: a block of loopback addresses that no other program uses, and a folder of its own. Both are taken
//! before anything starts, so that two demos at once do not meet, and given back at the end.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;

/// Where agents listen.
pub const AGENT_PORT: u16 = 7400;
/// Where the gateway listens.
pub const GATEWAY_PORT: u16 = 7001;
/// Where the echo server listens.
pub const ECHO_PORT: u16 = 7002;
/// The most nodes: one block holds them all.
pub const MAX_NODES: u32 = 250;

/// The blocks that are tried, as the third number of 127.0.x.y.
const BLOCKS: std::ops::RangeInclusive<u8> = 10..=250;
/// The address of a block that says that it is taken; beyond those of nodes.
const CLAIM: u8 = 254;

/// Addresses 127.0.x.1 and up.
#[derive(Debug)]
pub struct Block {
    third: u8,
    /// Two demos cannot both listen here.
    _claim: TcpListener,
}

impl Block {
    /// The first block in which every address that `nodes` need is free.
    ///
    /// # Errors
    /// [`Error::Demo`] when there is none, with the first conflict, or when the system has no such addresses.
    pub fn claim(nodes: usize) -> Result<Self, Error> {
        let mut first = None;
        for third in BLOCKS {
            match Self::try_claim(third, nodes) {
                Ok(block) => return Ok(block),
                Err((address, error)) if error.kind() == ErrorKind::AddrInUse => {
                    first.get_or_insert(address);
                }
                Err((address, error)) => {
                    return Err(Error::Demo {
                        problem: format!("{address} cannot be listened at: {error}"),
                        hint: "the demo needs the loopback addresses 127.0.10.1 and up, as Linux has them".to_owned(),
                    });
                }
            }
        }
        let conflict = first.map_or_else(String::new, |address| {
            format!(": the first conflict is {address}")
        });
        let (start, end) = (BLOCKS.start(), BLOCKS.end());
        Err(Error::Demo {
            problem: format!(
                "an address is in use in every block from 127.0.{start}.x to 127.0.{end}.x{conflict}"
            ),
            hint: format!(
                "end what listens on ports {GATEWAY_PORT}, {ECHO_PORT} or {AGENT_PORT}; see it with: ss -ltnp"
            ),
        })
    }

    fn try_claim(third: u8, nodes: usize) -> Result<Self, (SocketAddrV4, std::io::Error)> {
        let listen = |last, port| {
            let address = SocketAddrV4::new(Ipv4Addr::new(127, 0, third, last), port);
            TcpListener::bind(address).map_err(|error| (address, error))
        };
        let claim = listen(CLAIM, AGENT_PORT)?;
        for node in 0..nodes {
            for port in [AGENT_PORT, GATEWAY_PORT, ECHO_PORT] {
                drop(listen(last_number(node), port)?);
            }
        }
        Ok(Self {
            third,
            _claim: claim,
        })
    }

    /// The address of a node, counted from 0.
    pub fn address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, self.third, last_number(node))
    }
}

/// Nodes are at most `MAX_NODES`.
fn last_number(node: usize) -> u8 {
    u8::try_from(node + 1).unwrap_or(u8::MAX)
}

/// A folder that is removed when it is dropped, unless it is to be kept.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Makes the folder, for this user alone: `dir`, which must be empty or not there, or a new one for temporary files.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Demo`] when `dir` is not empty.
    pub fn make(dir: Option<&Path>, keep: bool) -> Result<Self, Error> {
        let path = match dir {
            Some(dir) => std::path::absolute(dir).map_err(Error::io("find", dir))?,
            None => std::env::temp_dir().join(format!("midflight-demo-{}", std::process::id())),
        };
        if std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::Demo {
                problem: format!("{} is not empty", path.display()),
                hint: "name a folder that is empty or not there with --dir".to_owned(),
            });
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(Error::io("create", &path))?;
        // Agents run with other working folders, and it may be reached by way of a link.
        let path = std::fs::canonicalize(&path).map_err(Error::io("find", &path))?;
        Ok(Self { path, keep })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It stays when this is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        self.keep
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A process that was just killed may still have written a file.
        for _ in 0..10 {
            if self.keep || std::fs::remove_dir_all(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        crate::command::tell(&format!("could not remove {}", self.path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_demos_do_not_share_a_block() {
        let (first, second) = (Block::claim(2).unwrap(), Block::claim(2).unwrap());
        assert_ne!(first.address(0), second.address(0));
        assert_eq!(first.address(1).octets()[3], 2);
    }

    #[test]
    fn a_block_with_a_port_in_use_is_passed_over() {
        let block = Block::claim(3).unwrap();
        let _in_use = TcpListener::bind((block.address(2), ECHO_PORT)).unwrap();
        let third = block.address(2).octets()[2];
        drop(block);
        let (address, error) = Block::try_claim(third, 3).unwrap_err();
        assert_eq!(
            (address.port(), error.kind()),
            (ECHO_PORT, ErrorKind::AddrInUse)
        );
        assert!(Block::try_claim(third, 2).is_ok());
    }

    #[test]
    fn a_folder_goes_away_unless_it_is_kept_and_one_in_use_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("demo");
        let folder = Folder::make(Some(&path), false).unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        assert!(
            Folder::make(Some(&path), false)
                .unwrap_err()
                .to_string()
                .ends_with("is not empty")
        );
        drop(folder);
        assert!(!path.exists());
        drop(Folder::make(Some(&path), true).unwrap());
        assert!(path.exists());
    }
}
