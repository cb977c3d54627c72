//! Checks if the user of a RUN has access to its cache mount. Does no I/O.
//!
//! Most programs silently ignore a cache that they cannot write to, and pip also ignores one that belongs to a
//! different user.

use super::identity::MountUse;
use super::kinds::CacheKind;
use crate::courier::protocol::Owner;

/// Returns the reason why a RUN cannot use the mount with the root directory `root`. Returns `None` if it can, or if
/// that depends on the image.
pub(crate) fn access_problem(at: &MountUse, kind: CacheKind, root: Owner) -> Option<String> {
    let user = at.user.as_deref()?;
    let cannot = match user.parse::<u32>() {
        _ if at.is_readonly => false,
        Ok(0) => kind == CacheKind::Pip && root.uid != 0,
        Ok(uid) => !(uid == root.uid && root.mode & 0o200 != 0) && root.mode & 0o022 == 0,
        Err(_) if user == "root" => kind == CacheKind::Pip && root.uid != 0,
        // An unknown user name is not root.
        Err(_) => root.uid == 0 && root.mode & 0o022 == 0,
    };
    let fix = if matches!(user, "root" | "0") {
        "remove its uid and gid options".to_owned()
    } else {
        let id = user.parse::<u32>().map_or("UID".to_owned(), |uid| uid.to_string());
        format!("add uid={id} to the --mount (the output of `id -u` in the image)")
    };
    cannot.then(|| {
        format!(
            "line {}: {user} cannot use the cache mount {}, which belongs to {}:{} ({:04o}); {fix}",
            at.line, at.target, root.uid, root.gid, root.mode
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_its_user_cannot_write_to_is_reported() {
        let owner = |uid, mode| Owner { uid, gid: 0, mode };
        for (user, kind, root, fits) in [
            (None, CacheKind::Pip, owner(0, 0o755), true),
            (Some("root"), CacheKind::Pip, owner(0, 0o755), true),
            (Some("root"), CacheKind::Pip, owner(1000, 0o755), false),
            (Some("0"), CacheKind::Npm, owner(1000, 0o755), true),
            (Some("1000"), CacheKind::Pip, owner(0, 0o755), false),
            (Some("1000"), CacheKind::Pip, owner(1000, 0o755), true),
            (Some("1000"), CacheKind::Pip, owner(1000, 0o555), false),
            (Some("1000"), CacheKind::Other, owner(0, 0o777), true),
            (Some("app"), CacheKind::Pip, owner(0, 0o755), false),
            (Some("app"), CacheKind::Pip, owner(1000, 0o700), true),
        ] {
            let at = MountUse {
                stage: 0,
                line: 7,
                target: "/c".to_owned(),
                is_readonly: false,
                user: user.map(str::to_owned),
            };
            assert_eq!(access_problem(&at, kind, root).is_none(), fits, "{user:?} {kind} {root:?}");
        }
    }
}
