//! What larder knows of registries: image references, logins, tokens.
//!
//! Passwords and tokens never appear in an error, a log or a `Debug` output.

mod login;
mod reference;
mod token;

pub use login::{Credentials, Login, LoginError};
pub use reference::{ImageRef, InvalidImageRef};
pub use token::{Token, TokenError, TokenRequest};
