//! Appends a stage to a Dockerfile to visit cache mounts whose origin is a stage or an image of it. Does no I/O.
//!
//! Such a mount is identified by the result of its stage or image in the builder. Only the frontend of the build
//! produces the same result, so the step of the visit is a RUN of the same Dockerfile.

use std::fmt::Write as _;

use super::identity::{MountId, MountOrigin, MountUse, RootDirectory, TargetMount, Variables, cache_mounts};
use super::visit::{PROGRAM, SOCKET, STREAM, UPLOAD, target};
use crate::buildkit::llb::Sharing;
use crate::dockerfile::{Dockerfile, Options};

/// Returns `dockerfile` with an appended stage `name` in which a visit has these mounts.
///
/// [`can_be_visited`] checks that each mount is the same there.
pub(crate) fn with_visit(dockerfile: &str, name: &str, mounts: &[TargetMount]) -> String {
    let options =
        mounts.iter().zip(0..).map(|(mount, number)| options(&mount.id, mount.sharing, &target(number)));
    with_step(dockerfile, name, options)
}

/// Returns `dockerfile` with an appended stage `name` in which a visit has the file system of the stage `scanned`.
pub(crate) fn with_scan(dockerfile: &str, name: &str, scanned: &str) -> String {
    with_step(dockerfile, name, [format!("type=bind,from={scanned},target={}", target(0))])
}

/// Returns `dockerfile` with an appended stage `name` that runs the courier with mounts of these options, whose targets
/// are [`target`].
fn with_step(dockerfile: &str, name: &str, mounts: impl IntoIterator<Item = String>) -> String {
    // Old frontends support a mode for copied files, but not for downloads.
    let courier = courier_stage(name);
    let mut text = format!(
        "{dockerfile}\nFROM scratch AS {courier}\n\
         ADD http://buildkit-session/{UPLOAD} {PROGRAM}\n\
         FROM --platform=$BUILDPLATFORM scratch AS {name}\n\
         COPY --from={courier} --chmod=0755 {PROGRAM} {PROGRAM}\n\
         ENV VISIT={name}\n\
         RUN --mount=type=ssh,id={STREAM},target={SOCKET},required=true"
    );
    let mut command = vec![PROGRAM.to_owned(), SOCKET.to_owned()];
    for (number, options) in mounts.into_iter().enumerate() {
        let _ = write!(text, " --mount={options}");
        command.push(target(number));
    }
    let command: Vec<String> = command.iter().map(|word| format!("\"{word}\"")).collect();
    let _ = writeln!(text, " [{}]", command.join(", "));
    text
}

fn courier_stage(name: &str) -> String {
    format!("{name}-courier")
}

/// Returns `true` if a stage appended to `dockerfile` can have the same mount. This is not possible if the last
/// instruction of the text is incomplete, or if a value would be parsed differently.
pub(crate) fn can_be_visited(
    mount: &TargetMount,
    dockerfile: &str,
    options: &Options,
    variables: Variables,
) -> bool {
    const STAGE: &str = "larder-visit";
    let text = with_visit(dockerfile, STAGE, std::slice::from_ref(mount));
    let options = Options { target: Some(STAGE.to_owned()), ..options.clone() };
    let Ok(dockerfile) = Dockerfile::parse(&text) else { return false };
    let Ok(resolution) = dockerfile.resolve(&options) else { return false };
    let stage = |name: &str| resolution.stages.iter().find(|stage| stage.name.as_deref() == Some(name));
    let (Some(own), Some(_)) = (stage(STAGE), stage(&courier_stage(STAGE))) else { return false };
    let is_of_stage = |used: &MountUse| used.stage == own.index;
    let found = cache_mounts(&resolution, &options.build_args, variables);
    found.supported.iter().any(|found| found.id == mount.id && found.uses.iter().any(is_of_stage))
}

fn options(MountId { origin, directory, .. }: &MountId, sharing: Sharing, target: &str) -> String {
    let sharing = match sharing {
        Sharing::Shared => "shared",
        Sharing::Private => "private",
        Sharing::Locked => "locked",
    };
    let mut options = format!("type=cache,target={target},sharing={sharing}");
    if let Some(MountOrigin { from, source, id, .. }) = origin {
        for (name, value) in [("from", from), ("source", source), ("id", id)] {
            let _ = write!(options, ",{name}={value}");
        }
    }
    if let Some(RootDirectory { uid, gid, mode }) = directory {
        let _ = write!(options, ",uid={uid},gid={gid},mode={mode:o}");
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns `true` if the only mount of a Dockerfile can be visited, and the Dockerfile for the visit.
    fn visited(dockerfile: &str) -> (bool, String) {
        let options = Options {
            target: Some("used".to_owned()),
            build_platform: "linux/amd64".to_owned(),
            ..Options::default()
        };
        let resolution = Dockerfile::parse(dockerfile).unwrap().resolve(&options).unwrap();
        let mounts = cache_mounts(&resolution, &options.build_args, Variables::Expanded);
        let mount = &mounts.supported[0];
        (
            can_be_visited(mount, dockerfile, &options, Variables::Expanded),
            with_visit(dockerfile, "visit", &mounts.supported),
        )
    }

    #[test]
    fn the_stage_has_the_mount_with_the_same_identity() {
        let (can_be, text) = visited(
            "FROM x AS seed\nFROM y AS used\nARG N=a\nWORKDIR /w\n\
             RUN --mount=type=cache,id=$N-b,target=c,from=seed,uid=7,mode=0700,sharing=locked true",
        );
        assert!(can_be);
        let added: Vec<&str> = text.lines().skip(5).collect();
        assert_eq!(
            added,
            [
                "FROM scratch AS visit-courier",
                "ADD http://buildkit-session/larder-courier /courier",
                "FROM --platform=$BUILDPLATFORM scratch AS visit",
                "COPY --from=visit-courier --chmod=0755 /courier /courier",
                "ENV VISIT=visit",
                "RUN --mount=type=ssh,id=larder-visit,target=/larder.sock,required=true \
                 --mount=type=cache,target=/mounts/0,sharing=locked,from=seed,source=/,id=a-b,uid=7,gid=0,mode=700 \
                 [\"/courier\", \"/larder.sock\", \"/mounts/0\"]",
            ]
        );
    }

    #[test]
    fn a_mount_that_would_differ_in_the_appended_stage_cannot_be_visited() {
        let run = |options: &str| {
            format!(
                "FROM x AS seed\nFROM y AS used\nARG N='a$b'\nRUN --mount=type=cache,target=/c,from=seed,{options} true\n"
            )
        };
        for (dockerfile, expected) in [
            (run("id=a"), true),
            (run("id=a") + "# a comment \\\n", true),
            (run("id=a") + "RUN <<EOF\nFROM z\nEOF\n", true),
            (run("id=a") + "RUN true \\\n", false),
            (run("id=$N"), false),
        ] {
            assert_eq!(visited(&dockerfile).0, expected, "{dockerfile}");
        }
    }
}
