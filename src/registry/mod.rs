//! Registries: image references, credentials, tokens, manifests, and transfers of blobs.
//!
//! Passwords and tokens must never appear in an error, a log or a `Debug` output.

mod access;
mod builds;
mod certificates;
mod challenge;
mod config;
mod connection;
mod credential_helper;
mod docker_config;
pub(crate) mod ecr;
mod error;
mod graft;
mod growing_blob;
mod identity;
mod image_manifest;
mod login;
mod manifest;
mod platform;
mod prefix;
mod reference;
mod tags;
mod token;
mod transfer;
mod upload;

use challenge::Challenge;

pub(crate) use access::RegistryAccess;
pub(crate) use config::{ImageConfig, ImageSettings};
pub(crate) use docker_config::DockerConfigFile;
pub(crate) use error::{RegistryError, with_timeout};
pub(crate) use graft::GraftBase;
pub(crate) use growing_blob::{GrowingBlob, growing_blob};
pub(crate) use identity::CredentialSource;
pub(crate) use image_manifest::{Compression, LayerBlob};
pub(crate) use login::{Credentials, Login};
pub(crate) use manifest::{RemoteImage, Repository, StoredManifest, remote_image};
pub(crate) use platform::compatibility_rank;
pub(crate) use prefix::{CutBase, CutImage, PrefixDocuments, PrefixError, PrefixMark};
pub(crate) use reference::{ImageRef, InvalidImageRef};
pub(crate) use token::{TokenError, TokenRequest};
pub(crate) use upload::UploadError;
