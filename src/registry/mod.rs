//! What larder knows of registries: image references, logins, tokens, manifests.
//!
//! Passwords and tokens never appear in an error, a log or a `Debug` output.

mod challenge;
mod config;
mod login;
mod manifest;
mod platform;
mod reference;
mod token;

use challenge::Challenge;

pub use config::{Healthcheck, ImageConfig, ImageSettings};
pub use login::{Credentials, Login, LoginError};
pub use manifest::{ManifestError, RemoteImage, remote_image};
pub use platform::serves;
pub use reference::{ImageRef, InvalidImageRef};
pub use token::{Token, TokenError, TokenRequest};
