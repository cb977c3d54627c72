//! The users and groups of an image, for `--chown` and the owner of a WORKDIR.

/// The contents of `/etc/passwd` and `/etc/group` of an image; empty for a missing file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Accounts {
    pub(crate) passwd: String,
    pub(crate) group: String,
}

pub(crate) static FILES: [&str; 2] = ["etc/passwd", "etc/group"];

impl Accounts {
    /// Returns the uid and gid of an owner `USER[:GROUP]`, whose parts are names or numbers.
    ///
    /// A numeric user has the group with the same number. An unknown user is root, and an unknown group is that of the
    /// user, as in `BuildKit` (`solver/llbsolver/ops/user_linux.go`).
    pub(crate) fn owner(&self, text: &str) -> (u32, u32) {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let (uid, own_gid) = match parse_id(user) {
            Some(id) => (id, id),
            None => self.user(user).unwrap_or_default(),
        };
        let gid = match group {
            None => own_gid,
            Some(group) => parse_id(group).or_else(|| self.group(group)).unwrap_or(own_gid),
        };
        (uid, gid)
    }

    fn user(&self, name: &str) -> Option<(u32, u32)> {
        self.passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [own, _, uid, gid, ..] = fields[..] else { return None };
            (own == name).then(|| (uid.parse().unwrap_or_default(), gid.parse().unwrap_or_default()))
        })
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.group.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [own, _, gid, ..] = fields[..] else { return None };
            (own == name).then(|| gid.parse().unwrap_or_default())
        })
    }
}

/// Returns `true` if an owner contains a name, which must be looked up in [`Accounts`].
pub(super) fn has_names(text: &str) -> bool {
    text.split(':').take(2).any(|part| parse_id(part).is_none())
}

/// Returns `true` if one of the ids is negative. Engines convert negative ids in different ways.
pub(super) fn has_negative_id(text: &str) -> bool {
    text.split(':').any(|part| part.parse::<i32>().is_ok_and(|id| id < 0))
}

/// Parses a numeric id; `root` is 0. Follows `BuildKit` (`client/llb/fileop.go`).
fn parse_id(text: &str) -> Option<u32> {
    if text == "root" {
        return Some(0);
    }
    text.parse::<i32>().ok().and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_or_numbers() {
        let accounts = Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\napp:x:7:8::/:/bin/sh\nbroken\n".to_owned(),
            group: "root:x:0:\nweb:x:33:app\n".to_owned(),
        };
        for (text, owner) in [
            ("7", (7, 7)),
            ("7:9", (7, 9)),
            ("app", (7, 8)),
            ("app:web", (7, 33)),
            ("app:nobody", (7, 8)),
            ("5:web", (5, 33)),
            ("nobody", (0, 0)),
            ("root:web", (0, 33)),
            ("root", (0, 0)),
            (":web", (0, 33)),
        ] {
            assert_eq!(accounts.owner(text), owner, "{text}");
        }
        assert!(has_negative_id("1:-1") && !has_negative_id("1:app"));
        assert!(!has_names("1:2") && !has_names("root") && has_names("1:web") && has_names("app"));
    }
}
