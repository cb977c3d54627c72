//! The secret of the cache: 32 random bytes that never leave its directory.

use std::io::{self, Write};

use super::{LAYOUT, Notes, NotesError};
use crate::regular_file::{self, PRIVATE, PendingFile};

const LENGTH: usize = 32;

impl Notes {
    /// Returns the secret. Creates it on the first call.
    pub(crate) fn secret(&self) -> Result<[u8; LENGTH], NotesError> {
        let path = self.root.join(LAYOUT).join("secret");
        let known = || Self::read(&path).ok().and_then(|bytes| <[u8; LENGTH]>::try_from(bytes).ok());
        if let Some(secret) = known() {
            return Ok(secret);
        }
        let new = || {
            let mut secret = [0; LENGTH];
            getrandom::fill(&mut secret).map_err(io::Error::other).map(|()| secret)
        };
        if self.is_read_only {
            return new().map_err(|source| NotesError::Read { path, source });
        }
        self.prepare(&path)?;
        let make = || {
            let secret = new()?;
            let mut file = PendingFile::create(&path, PRIVATE)?;
            file.write_all(&secret)?;
            match file.commit_new() {
                Ok(()) => Ok(secret),
                Err(error) => match known() {
                    // A concurrent job has created it.
                    Some(secret) => Ok(secret),
                    None if error.kind() == io::ErrorKind::AlreadyExists => {
                        // The file is not a secret: it was truncated by a full disk, or a user wrote it.
                        regular_file::write(&path, &secret, PRIVATE).map(|()| secret)
                    }
                    None => Err(error),
                },
            }
        };
        make().map_err(|source| NotesError::Write { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_cache_has_its_own_secret() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = Notes::new(one.path()).secret().unwrap();
        assert_eq!(Notes::new(one.path()).secret().unwrap(), secret);
        assert_ne!(Notes::new(two.path()).secret().unwrap(), secret);
        let path = one.path().join(LAYOUT).join("secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        let replaced = Notes::new(one.path()).secret().unwrap();
        assert_ne!(replaced, secret);
        assert_eq!(Notes::new(one.path()).secret().unwrap(), replaced);
    }
}
