//! One secret, many purposes: HMAC-SHA-256 (RFC 2104, FIPS 180-4), by the `hmac` and `sha2` crates.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret of any length is for one purpose: whoever learns it knows nothing of the others.
pub(super) fn derive(secret: &[u8], purpose: &[u8]) -> [u8; 32] {
    authenticate(secret, &[b"ringgate ", purpose])
}

/// The HMAC of all parts, one after the other.
pub(super) fn authenticate(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length, so there is always one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hmac_of_rfc_4231() {
        // Section 4.3, test case 2.
        let digest = authenticate(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn purposes_differ() {
        assert_ne!(derive(b"s", b"hash_seed"), derive(b"s", b"sticky_key"));
    }
}
