//! Keys on FIDO tokens, which the agent asks: a real server takes what an agent signs for them.
//!
//! No machine that runs tests has a token, so the agent here is one of our own that signs as a token does
//! (OpenSSH's PROTOCOL.u2f): with the application, a flag for the touch and a counter in what is signed.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signature::Signer as _;
use ssh_key::private::KeypairData;
use ssh_key::{HashAlg, PrivateKey};

use crate::fixture::{Sshd, World, chain, output, until};

const APPLICATION: &str = "ssh:";
/// The token was touched.
const PRESENT: u8 = 1;
const COUNTER: u32 = 7;

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap();
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let (length, rest) = from.split_first_chunk::<4>().unwrap();
    let (bytes, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
    *from = rest;
    bytes
}

/// A token with one key.
struct Token {
    key: PrivateKey,
    kind: &'static str,
    /// Nobody touches it.
    left_alone: AtomicBool,
}

impl Token {
    fn new(world: &World, kind: &'static str) -> Self {
        let plain = if kind.contains("ed25519") {
            "ed25519"
        } else {
            "ecdsa"
        };
        let path = world.key("token", plain, &[]);
        let key = PrivateKey::read_openssh_file(&path).unwrap();
        Token {
            key,
            kind,
            left_alone: AtomicBool::new(false),
        }
    }

    /// Its public key as it goes over the wire.
    fn public(&self) -> Vec<u8> {
        let mut out = Vec::new();
        string(&mut out, self.kind.as_bytes());
        match self.key.key_data() {
            KeypairData::Ed25519(pair) => string(&mut out, &pair.public.0),
            KeypairData::Ecdsa(pair) => {
                string(&mut out, b"nistp256");
                string(&mut out, pair.public_key_bytes());
            }
            other => panic!("{other:?}"),
        }
        string(&mut out, APPLICATION.as_bytes());
        out
    }

    fn line(&self) -> String {
        use base64ct::{Base64, Encoding as _};
        format!(
            "{} {} token",
            self.kind,
            Base64::encode_string(&self.public())
        )
    }

    fn sign(&self, data: &[u8]) -> Vec<u8> {
        let mut signed = HashAlg::Sha256.digest(APPLICATION.as_bytes());
        signed.push(PRESENT);
        signed.extend_from_slice(&COUNTER.to_be_bytes());
        signed.extend_from_slice(&HashAlg::Sha256.digest(data));
        let signature: ssh_key::Signature = self.key.key_data().try_sign(&signed).unwrap();
        let mut out = Vec::new();
        string(&mut out, self.kind.as_bytes());
        string(&mut out, signature.as_bytes());
        out.push(PRESENT);
        out.extend_from_slice(&COUNTER.to_be_bytes());
        out
    }

    /// The answer of an agent with this token (draft-ietf-sshm-ssh-agent).
    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match request[0] {
            11 => {
                out.extend_from_slice(&[12, 0, 0, 0, 1]);
                string(&mut out, &self.public());
                string(&mut out, b"token");
            }
            13 if !self.left_alone.load(Ordering::Relaxed) => {
                let mut rest = &request[1..];
                assert_eq!(take(&mut rest), self.public());
                out.push(14);
                string(&mut out, &self.sign(take(&mut rest)));
            }
            _ => out.push(5),
        }
        out
    }

    fn serve(&self, mut stream: UnixStream) {
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).unwrap();
            let mut answer = Vec::new();
            string(&mut answer, &self.answer(&request));
            stream.write_all(&answer).unwrap();
        }
    }
}

#[tokio::test]
async fn keys_on_tokens_open_a_session_through_the_agent() {
    for kind in [
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ] {
        let mut world = World::new();
        let token = Arc::new(Token::new(&world, kind));
        let socket = world.text("token.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let agent = token.clone();
        std::thread::spawn(move || {
            listener
                .incoming()
                .flatten()
                .for_each(|stream| agent.serve(stream))
        });
        let server = Sshd::start(&world, &[]);
        server.authorize(&token.line());
        world
            .set(format!("IdentityAgent {socket}"))
            .set("IdentityFile none");
        world.host("node", &server);
        let session = world
            .connect("node")
            .await
            .unwrap_or_else(|error| panic!("{kind}: {}\n{}", chain(&error), server.log()));
        assert_eq!(output(&session, "echo in").await.0, "in\n");
        session.close().await;
        until("the server says by which key", || {
            server.log().contains("Accepted publickey")
        });

        token.left_alone.store(true, Ordering::Relaxed);
        let text = chain(&world.connect("node").await.unwrap_err());
        assert!(
            text.contains("was the use of the key not confirmed"),
            "{text}"
        );
    }
}
