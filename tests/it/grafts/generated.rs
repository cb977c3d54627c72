//! Compares images for generated tails: random combinations of sources, destinations and options.
//!
//! A tail is determined by its number. The message of a failure contains the number.

use std::fmt::Write as _;

use super::equality::{Bench, Tail};
use crate::differential::Random;
use crate::engines::engines;
use crate::support::is_full;

/// The number of tails.
const TAILS: u64 = 330;
/// `make test` builds only every `STEP`th tail.
const STEP: usize = 20;
/// The first engine version that is compared. Older ones support less syntax and differ in details
/// (`docs/grafts.md`).
const NEWEST: u32 = 28;

const SOURCES: [&str; 26] = [
    ".",
    "src",
    "src/",
    "/src/sub",
    "./lib",
    "main.py",
    "run.sh",
    "data.txt",
    "*.py",
    "*.txt",
    "src/*",
    "src/*.py",
    "src/s*",
    "s*/sub",
    "none*",
    "hard",
    "hard/*",
    "src/link.py",
    "src/lib",
    "shortcut",
    "shortcut/file",
    "links",
    "links/alias/file",
    "empty",
    "large.bin",
    "src/broken",
];
const DESTINATIONS: [&str; 24] = [
    "/srv/app",
    "/srv/app/",
    "app",
    "app/",
    "./",
    ".",
    "/link",
    "/link/",
    "relative/new/",
    "/dangling",
    "/dangling/",
    "/new",
    "/new/",
    "/new/deep/er/",
    "/new/file",
    "/srv/app/inner/",
    "/srv/app/inner",
    "/srv/file",
    "/srv/linked",
    "/srv/data/",
    "/opt/tool/../x/",
    "$ROOT/app/sub/.",
    "/srv/app/deep",
    "/",
];

fn tail(number: u64) -> Tail {
    let mut random = Random(number);
    let mut text = String::new();
    for _ in 0..=random.below(3) {
        match random.below(10) {
            0 => writeln!(text, "WORKDIR {}", random.pick(&["/new/work", "app", "/link/sub", "sub", "/"])),
            1 => writeln!(text, "USER {}", random.pick(&["app", "7", "1000:33", "root"])),
            2 => writeln!(
                text,
                "{}",
                random.pick(&[
                    "ENV A=$BASE B=\"two words\" PATH=/x:$PATH",
                    "ARG X=1\nLABEL x=$X of=new",
                    "ENTRYPOINT [\"run\"]",
                    "ENTRYPOINT run\nCMD [\"x\"]",
                    "SHELL [\"/bin/ash\", \"-c\"]\nCMD run $BASE",
                    "EXPOSE 80 53/UDP 90-92",
                    "VOLUME /data \"$ROOT\"",
                    "STOPSIGNAL SIGQUIT",
                    "HEALTHCHECK --interval=90s --retries=2 CMD [\"true\"]",
                    "ONBUILD RUN true",
                ])
            ),
            _ => {
                let mut flags = String::new();
                if random.below(3) == 0 {
                    let owner = random.pick(&["7", "app", "app:web", "1000:1000", "nobody", "5:web"]);
                    let _ = write!(flags, " --chown={owner}");
                }
                if random.below(4) == 0 {
                    let _ = write!(flags, " --chmod={}", random.pick(&["755", "0600", "2775", "4711"]));
                }
                if random.below(5) == 0 {
                    let pattern =
                        random.pick(&["*.py", "sub", "**/*.md", "deep/er", "sub/* --exclude=!sub/kept"]);
                    let _ = write!(flags, " --exclude={pattern}");
                }
                if random.below(8) == 0 {
                    flags.push_str(" --link");
                }
                let keyword = if random.below(6) == 0 { "ADD" } else { "COPY" };
                let sources: Vec<&str> = (0..=random.below(3) / 2).map(|_| *random.pick(&SOURCES)).collect();
                writeln!(text, "{keyword}{flags} {} {}", sources.join(" "), random.pick(&DESTINATIONS))
            }
        }
        .unwrap();
    }
    Tail {
        name: format!("number {number}"),
        text,
        flags: Vec::new(),
        skip_reason: None,
        seed: None,
        can_be_skipped: true,
        has_newer_syntax: true,
        old_difference: None,
    }
}

#[test]
fn grafted_images_of_generated_tails_equal_those_of_docker() {
    let tails: Vec<Tail> = (0..TAILS).step_by(if is_full() { 1 } else { STEP }).map(tail).collect();
    let newest: Vec<_> = engines().into_iter().filter(|engine| engine.major() >= NEWEST).collect();
    std::thread::scope(|scope| {
        for engine in &newest {
            let tails = &tails;
            scope.spawn(move || {
                let [grafted, built, failed] = Bench::new(engine).compare_all(tails);
                println!("{}: {grafted} grafted, {built} built, {failed} failed", engine.name);
                assert!(grafted > tails.len() / 2, "{}: {grafted} {built} {failed}", engine.name);
            });
        }
    });
}
