//! Registries: image references, credentials, tokens, manifests and transfers.
//!
//! Passwords and tokens never appear in an error, a log or a `Debug` output.

mod authority;
mod challenge;
mod config;
mod connection;
mod credential_helper;
mod docker_config;
pub(crate) mod ecr;
mod error;
mod identity;
mod login;
mod manifest;
mod platform;
mod prefix;
mod reach;
mod reference;
mod token;
mod transfer;

use challenge::Challenge;

pub(crate) use config::{Healthcheck, ImageConfig, ImageSettings};
pub(crate) use docker_config::DockerConfigFile;
pub(crate) use error::{RegistryError, within};
pub(crate) use identity::Identity;
pub(crate) use login::{Credentials, Login};
pub(crate) use manifest::{RemoteImage, Repository, StoredManifest, remote_image};
pub(crate) use platform::serves;
pub(crate) use prefix::{CutImage, PrefixDocuments, PrefixError};
pub(crate) use reach::Reach;
pub use reference::{ImageRef, InvalidImageRef};
pub(crate) use token::{TokenError, TokenRequest};
