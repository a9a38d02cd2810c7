//! Sealing bytes to a key whose other half the relay does not have.
//!
//! A sealed box of libsodium (`crypto_box_seal`): X25519 with a new key of its own for each box, then
//! XSalsa20-Poly1305. Whoever takes a store, an export or the relay's memory later cannot open one.

use auditrelay_store::Sealed;
use crypto_box::{PublicKey, aead::OsRng};

/// To whom bytes are sealed.
#[derive(Debug, Clone)]
pub struct SealTo(PublicKey);

impl SealTo {
    /// To the owner of an X25519 public key.
    #[must_use]
    pub fn new(public_key: [u8; 32]) -> Self {
        Self(PublicKey::from(public_key))
    }

    /// Seals bytes; `None` only where there are more than the cipher can take.
    pub fn seal(&self, bytes: &[u8]) -> Option<Sealed> {
        let mut to = [0; 8];
        to.copy_from_slice(&self.0.as_bytes()[..8]);
        let bytes = self.0.seal(&mut OsRng, bytes).ok()?;
        Some(Sealed { to, bytes })
    }
}
