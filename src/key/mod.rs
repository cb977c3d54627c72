//! Computes cache keys: 32 bytes that are derived from named, typed inputs. Does no input or output; the caller
//! provides the content of files.
//!
//! Two builds with the same key are interchangeable, because everything that can change the result is an `Input`. The
//! encoding is `larder-key-v2`:
//!
//! ```text
//!  key    = SHA-256( field("larder-key-v2") · field(role) · count · input* )
//!  input  = field(kind) · field(name) · field(digest)       sorted by (kind, name); the confidential ones
//!           are omitted, and one input of kind "sealed" replaces all of them
//!  digest = SHA-256( field("larder-input-v1") · field(kind) · count · field* )
//!           over the input's own values, or the digest of a file's bytes as it is
//!  field  = length · bytes
//!  length, count = 8 bytes, little-endian
//!  sealed = Argon2id( SHA-256( field("larder-seal-v2") · input* ),
//!           salt = SHA-256( field("larder-salt-v1") · (field(kind) · field(name))* ) )    see `seal`
//!  role   = "image" | "dependency" | "base" | "prefix";  kind = one of InputKind's names
//! ```
//!
//! Invariants:
//!
//! - Every field contains its length, so no two sequences of fields have the same encoding.
//! - The order in which inputs are added does not matter. A name is unique within its kind.
//! - Names do not contain values of build arguments, and such values cannot be guessed from a key (see `seal`).
//!
//! A change of the encoding needs a new version in its first field.

mod base;
mod dependency;
mod difference;
mod directory;
mod encoding;
mod fields;
mod image;
mod image_inputs;
mod input;
mod installer;
mod platforms;
mod prefix;
mod project;
mod reached;
mod seal;

#[cfg(test)]
mod tests;

pub(crate) use difference::{InputChange, difference};
pub use directory::{DirectoryInputs, directory_key};
pub(crate) use encoding::{CacheKey, DuplicateInput};
pub(crate) use image::Keys;
pub(crate) use image_inputs::{
    BasePin, ContextAccess, ContextFile, ImageInputs, NamedContext, ParsedDockerfile, reads_docker_syntax,
};
pub(crate) use input::Input;
pub(crate) use input::InputKind;
pub(crate) use prefix::{PrefixKey, PrefixKeys};
pub(crate) use reached::shown_text;
pub(crate) use seal::Seal;
