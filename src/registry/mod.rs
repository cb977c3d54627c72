//! What larder knows of registries: image references, logins, tokens, manifests.
//!
//! Passwords and tokens never appear in an error, a log or a `Debug` output.

mod authority;
mod challenge;
mod config;
mod connection;
mod credential_helper;
mod docker_config;
pub mod ecr;
mod error;
mod identity;
mod login;
mod manifest;
mod platform;
mod reach;
mod reference;
mod token;
mod transfer;

use challenge::Challenge;

pub use config::{Healthcheck, ImageConfig, ImageSettings};
pub use docker_config::{DockerConfigError, DockerConfigFile};
pub use error::{RegistryError, within};
pub use identity::Identity;
pub use login::{Credentials, Login};
pub use manifest::{RemoteImage, Repository, StoredManifest, remote_image};
pub use platform::serves;
pub use reach::Reach;
pub use reference::{ImageRef, InvalidImageRef};
pub use token::{Token, TokenError, TokenRequest};
pub use transfer::Moved;
