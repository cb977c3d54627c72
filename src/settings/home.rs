//! The home directory of the user, for environments without HOME.

use std::path::PathBuf;

const USER_DATABASE: &str = "/etc/passwd";

/// Returns the home directory of this process's user, or `/` for an unknown user, as Docker's client does.
pub(super) fn home_of_process_user() -> PathBuf {
    let users = std::fs::read(USER_DATABASE).unwrap_or_default();
    let home = home_of_uid(&String::from_utf8_lossy(&users), rustix::process::getuid().as_raw());
    home.unwrap_or_else(|| PathBuf::from("/"))
}

/// Returns the home directory of a user; `users` has the format of `/etc/passwd`.
fn home_of_uid(users: &str, uid: u32) -> Option<PathBuf> {
    let uid = uid.to_string();
    let homes = users.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid.as_str())).then(|| fields.get(5).copied()).flatten()
    });
    homes.filter(|home| home.starts_with('/')).map(PathBuf::from).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_directory_is_read_from_the_user_database() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\n# comment\nci:x:1000:1000::/home/ci:/bin/sh\nnone:x:2:2:::\n";
        assert_eq!(home_of_uid(users, 1000), Some(PathBuf::from("/home/ci")));
        assert_eq!(home_of_uid(users, 0), Some(PathBuf::from("/root")));
        assert_eq!(home_of_uid(users, 2), None);
        assert_eq!(home_of_uid(users, 47110), None);
    }
}
