//! The framing of index files, which end with the SHA-256 of all bytes before it, and of their fields.

use crate::digest::Digest;

pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = Digest::of(&bytes);
    bytes.extend(digest.as_bytes());
    bytes
}

/// Returns the bytes between `magic` and the digest. Returns `None` if one of them is wrong.
pub(crate) fn unseal<'a>(bytes: &'a [u8], magic: &[u8]) -> Option<&'a [u8]> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    if Digest::of(body).as_bytes() == digest { body.strip_prefix(magic) } else { None }
}

/// Appends the length as `u32`, little-endian, and the text.
pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    // No file system has paths of 4 GiB.
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(text);
}

/// Removes a text from the front of `bytes`. Returns `None` if there are too few bytes.
pub(crate) fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(bytes)?);
    let (text, behind) = bytes.split_at_checked(length as usize)?;
    *bytes = behind;
    Some(text)
}

/// Removes an array from the front of `bytes`. Returns `None` if there are too few bytes.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = bytes.split_first_chunk::<N>()?;
    *bytes = behind;
    Some(*taken)
}
