//! Compares images for hand-written tails, one for each rule of the graft.
//!
//! The format of `tails.txt`:
//!
//! ```text
//! ==== NAME
//! = newer              Docker 20.10 does not support the syntax
//! = not 20.10 REASON   Docker 20.10 creates a different image
//! = flag FLAG          a flag of both builds
//! = seed INSTRUCTIONS  the instructions of an additional first build; `\n` is a line break
//! = refused REASON     the image is built instead of grafted, for this reason
//! COPY …
//! ```

use super::equality::{Bench, Tail};
use crate::engines::engines;
use crate::support::is_full;

const TAILS: &str = include_str!("../../corpus/grafts/tails.txt");
/// The first engine version whose frontend supports here-documents.
const NEWER_FRONTEND: u32 = 23;
/// `make test` builds only every `STEP`th tail on each engine.
const STEP: usize = 5;

fn tails() -> Vec<Tail> {
    let sections = TAILS.split("==== ").skip(1);
    let tails = sections.map(|section| {
        let (name, mut text) = section.split_once('\n').unwrap();
        let mut tail = Tail {
            name: name.to_owned(),
            text: String::new(),
            flags: Vec::new(),
            skip_reason: None,
            seed: None,
            can_be_skipped: false,
            has_newer_syntax: false,
            old_difference: None,
        };
        while let Some((option, rest)) = text.strip_prefix("= ").and_then(|rest| rest.split_once('\n')) {
            let (word, value) = option.split_once(' ').unwrap_or((option, ""));
            match word {
                "newer" => tail.has_newer_syntax = true,
                "not" => tail.old_difference = Some(value.to_owned()),
                "flag" => tail.flags.push(value.to_owned()),
                "seed" => tail.seed = Some(value.replace("\\n", "\n") + "\nLABEL seed=1\n"),
                "refused" => tail.skip_reason = Some(value.to_owned()),
                _ => panic!("{name}: unknown option `{option}`"),
            }
            text = rest;
        }
        Tail { text: text.to_owned(), ..tail }
    });
    tails.collect()
}

#[test]
fn grafted_images_of_written_tails_equal_those_of_docker() {
    let tails = tails();
    assert!(tails.len() >= 60, "{}", tails.len());
    let engines = engines();
    std::thread::scope(|scope| {
        for (number, engine) in engines.iter().enumerate() {
            let tails = &tails;
            scope.spawn(move || {
                let is_old = engine.major() < NEWER_FRONTEND;
                let is_supported =
                    |tail: &&Tail| !is_old || !tail.has_newer_syntax && tail.old_difference.is_none();
                // Each engine builds different tails.
                let (first, step) = if is_full() { (0, 1) } else { (number, STEP) };
                let selected = tails.iter().skip(first).step_by(step);
                let tails: Vec<Tail> = selected.filter(is_supported).cloned().collect();
                let [grafted, built, failed] = Bench::new(engine).compare_all(&tails);
                assert!(grafted > tails.len() / 2, "{}: {grafted} {built} {failed}", engine.name);
            });
        }
    });
}
