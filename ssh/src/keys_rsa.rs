//! RSA keys, which sign by ring: 2048 to 4096 bits, PKCS#1 v1.5 with SHA-256 or SHA-512 (RFC 8332). SHA-1 is not done.

use base64ct::{Base64, Encoding as _};
use num_bigint::BigUint;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use ring::signature::{self, KeyPair as _};
use russh::keys::ssh_encoding::Encode as _;
use ssh_key::private::RsaKeypair;
use ssh_key::public::{KeyData, RsaPublicKey};
use ssh_key::{HashAlg, Mpint, PublicKey};

/// One private key.
pub(crate) struct RsaKey(KeyPair);

impl RsaKey {
    /// From OpenSSH's format, in which the exponents for the Chinese remainders are left out.
    pub(crate) fn from_pair(pair: &RsaKeypair) -> Result<Self, String> {
        let positive = |number: &Mpint| {
            number
                .as_positive_bytes()
                .map(<[u8]>::to_vec)
                .ok_or_else(|| "a component of the RSA key is negative".to_owned())
        };
        let (public, private) = (pair.public(), pair.private());
        let [d, p, q] = [
            positive(private.d())?,
            positive(private.p())?,
            positive(private.q())?,
        ];
        let remainder = |prime: &[u8]| {
            let prime = BigUint::from_bytes_be(prime);
            if prime < BigUint::from(3u32) {
                return Err("a prime of the RSA key is too small".to_owned());
            }
            Ok((BigUint::from_bytes_be(&d) % (prime - 1u32)).to_bytes_be())
        };
        let (dp, dq) = (remainder(&p)?, remainder(&q)?);
        let components = KeyPairComponents {
            public_key: PublicKeyComponents {
                n: positive(public.n())?,
                e: positive(public.e())?,
            },
            qInv: positive(private.iqmp())?,
            dP: dp,
            dQ: dq,
            d,
            p,
            q,
        };
        KeyPair::from_components(&components)
            .map(Self)
            .map_err(refused)
    }

    /// From PEM that is not encrypted: PKCS#1, or PKCS#8 with an RSA key in it. `None`: it is another kind of key.
    pub(crate) fn from_pem(text: &str) -> Option<Result<Self, String>> {
        let body = |label: &str| {
            let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
            let (body, _) = rest.split_once("-----END")?;
            Base64::decode_vec(&body.split_whitespace().collect::<String>()).ok()
        };
        if let Some(der) = body("RSA PRIVATE KEY") {
            return Some(KeyPair::from_der(&der).map(Self).map_err(refused));
        }
        match KeyPair::from_pkcs8(&body("PRIVATE KEY")?) {
            Ok(key) => Some(Ok(Self(key))),
            // Another algorithm, or another thing altogether: for others to say.
            Err(error)
                if ["WrongAlgorithm", "InvalidEncoding"].contains(&error.to_string().as_str()) =>
            {
                None
            }
            Err(error) => Some(Err(refused(error))),
        }
    }

    /// Its public half.
    pub(crate) fn public(&self) -> Result<PublicKey, String> {
        let PublicKeyComponents { n, e } =
            PublicKeyComponents::<Vec<u8>>::from(self.0.public_key());
        let number = |bytes: &[u8]| Mpint::from_positive_bytes(bytes);
        RsaPublicKey::new(number(&e), number(&n))
            .map(|key| PublicKey::new(KeyData::Rsa(key), ""))
            .map_err(|error| error.to_string())
    }

    /// The signature as it goes over the wire.
    pub(crate) fn sign(&self, hash: Option<HashAlg>, data: &[u8]) -> Result<Vec<u8>, String> {
        let (name, padding): (_, &dyn signature::RsaEncoding) = match hash {
            Some(HashAlg::Sha512) => ("rsa-sha2-512", &signature::RSA_PKCS1_SHA512),
            Some(HashAlg::Sha256) => ("rsa-sha2-256", &signature::RSA_PKCS1_SHA256),
            _ => return Err("RSA with SHA-1 is not done".to_owned()),
        };
        let mut value = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(padding, &SystemRandom::new(), data, &mut value)
            .map_err(|_| "the RSA key cannot sign".to_owned())?;
        let mut out = Vec::new();
        name.encode(&mut out)
            .and_then(|()| value.as_slice().encode(&mut out))
            .map_err(|error| error.to_string())?;
        Ok(out)
    }
}

fn refused(error: ring::error::KeyRejected) -> String {
    match error.to_string().as_str() {
        "TooSmall" => "an RSA key of fewer than 2048 bits".to_owned(),
        "TooLarge" => "an RSA key of more than 4096 bits; put it into the ssh-agent".to_owned(),
        other => format!("the RSA key is not right ({other})"),
    }
}
