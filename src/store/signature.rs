//! Signatures of entries.
//!
//! A signature covers the line of the manifest: the key, the lane and, through the digests of the chunks, every byte of
//! the content. It is the next line, as JSON: `{"ed25519": "<public key>", "signature": "<signature>"}`, both in
//! base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it is not 32 bytes in base64")]
pub(crate) struct InvalidKey;

#[derive(Clone, Default)]
pub(crate) struct Trust {
    signer: Option<SigningKey>,
    trusted: Vec<VerifyingKey>,
    requires_signatures: bool,
}

#[derive(Serialize, Deserialize)]
struct SignatureLine {
    ed25519: String,
    signature: String,
}

impl Trust {
    /// Returns `true` if unsigned entries are not used: signatures are required, or new entries are signed.
    pub(crate) fn is_strict(&self) -> bool {
        self.requires_signatures
    }

    /// Signs new entries with the Ed25519 seed `signer`, and trusts its public key and the public keys `trusted`, all
    /// in base64. With `required` or a signer, entries that none of these keys has signed count as absent: a job that
    /// signs would otherwise restore an unsigned entry, and sign it when it saves it again. Fails if a key is invalid.
    pub(crate) fn new(signer: Option<&str>, trusted: &[String], required: bool) -> Result<Self, InvalidKey> {
        let signer = signer.map(|text| Ok(SigningKey::from_bytes(&key_bytes(text)?))).transpose()?;
        let mut keys: Vec<VerifyingKey> = signer.iter().map(SigningKey::verifying_key).collect();
        for text in trusted {
            keys.push(VerifyingKey::from_bytes(&key_bytes(text)?).map_err(|_| InvalidKey)?);
        }
        let requires_signatures = required || signer.is_some();
        Ok(Self { signer, trusted: keys, requires_signatures })
    }

    /// Returns the public key of the key that signs new entries, in base64.
    pub(crate) fn public_key(&self) -> Option<String> {
        self.signer.as_ref().map(|signer| BASE64.encode(signer.verifying_key().as_bytes()))
    }

    /// Returns the signature line of `manifest`, if there is a key to sign with.
    pub(super) fn sign(&self, manifest: &[u8]) -> Option<Vec<u8>> {
        let signer = self.signer.as_ref()?;
        let line = SignatureLine {
            ed25519: BASE64.encode(signer.verifying_key().as_bytes()),
            signature: BASE64.encode(signer.sign(manifest).to_bytes()),
        };
        Some(serde_json::to_vec(&line).expect("two texts"))
    }

    /// Checks that `manifest` may be used; returns the reason if it may not.
    pub(super) fn check(&self, manifest: &[u8], signature: Option<&[u8]>) -> Result<(), &'static str> {
        if !self.requires_signatures {
            return Ok(());
        }
        let line = signature.ok_or("is not signed")?;
        let line: SignatureLine = serde_json::from_slice(line).map_err(|_| "has a malformed signature")?;
        let trusted = |key: &&VerifyingKey| BASE64.encode(key.as_bytes()) == line.ed25519;
        let key = self.trusted.iter().find(trusted).ok_or("is signed by a key that is not trusted")?;
        let bytes = BASE64.decode(&line.signature).map_err(|_| "has a malformed signature")?;
        let signature = Signature::from_slice(&bytes).map_err(|_| "has a malformed signature")?;
        key.verify_strict(manifest, &signature).map_err(|_| "has a signature that does not match its content")
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust")
            .field("signs", &self.signer.is_some())
            .field("trusted", &self.trusted.len())
            .field("required", &self.requires_signatures)
            .finish()
    }
}

fn key_bytes(text: &str) -> Result<[u8; 32], InvalidKey> {
    let bytes = BASE64.decode(text.trim()).map_err(|_| InvalidKey)?;
    bytes.try_into().map_err(|_| InvalidKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_signed_by_a_trusted_key_pass_if_signatures_are_required_or_new_entries_are_signed() {
        let seed = |byte: u8| BASE64.encode([byte; 32]);
        let ours = Trust::new(Some(&seed(1)), &[], false).unwrap();
        let other = Trust::new(Some(&seed(2)), &[], true).unwrap();
        let reader = Trust::new(None, &[ours.public_key().unwrap()], true).unwrap();
        let careless = Trust::default();
        let line = ours.sign(b"manifest").unwrap();
        assert_eq!(ours.check(b"manifest", Some(&line)), Ok(()));
        assert_eq!(reader.check(b"manifest", Some(&line)), Ok(()));
        assert_eq!(careless.check(b"manifest", None), Ok(()));
        assert_eq!(other.check(b"manifest", Some(&line)), Err("is signed by a key that is not trusted"));
        assert_eq!(ours.check(b"manifest", None), Err("is not signed"));
        assert_eq!(ours.check(b"other", Some(&line)), Err("has a signature that does not match its content"));
        assert_eq!(ours.check(b"manifest", Some(b"x")), Err("has a malformed signature"));
        assert_eq!(careless.sign(b"manifest"), None);
        assert_eq!(
            format!("{ours:?}"),
            "Trust { signs: true, trusted: 1, required: true }",
            "keys are not printed"
        );
    }

    #[test]
    fn an_invalid_key_is_refused() {
        for text in ["", "x", "AAAA"] {
            assert_eq!(Trust::new(Some(text), &[], false).err(), Some(InvalidKey));
            assert_eq!(Trust::new(None, &[text.to_owned()], false).err(), Some(InvalidKey));
        }
    }
}
