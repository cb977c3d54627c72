//! Tails that were written by hand, one for each rule.
//!
//! ```text
//! ==== the tail's name
//! = newer              Docker 20.10 does not know its syntax
//! = not 20.10 WHY      Docker 20.10 makes something else
//! = flag FLAG          a flag of both builds
//! = seed INSTRUCTIONS  it has a prefix of its own, which these make; `\n` is a line break
//! = refused REASON     the image is built, for this reason
//! COPY …
//! ```

use super::equality::{Bench, Tail};
use crate::engines::engines;
use crate::support::is_full;

const TAILS: &str = include_str!("../../corpus/grafts/tails.txt");
/// The frontends of this engine and later ones know here-documents.
const NEWER_FRONTEND: u32 = 23;
/// The tails that `make test` builds on each engine, one in so many.
const SHARE: usize = 5;

fn tails() -> Vec<Tail> {
    let sections = TAILS.split("==== ").skip(1);
    let tails = sections.map(|section| {
        let (name, mut text) = section.split_once('\n').unwrap();
        let mut tail = Tail {
            name: name.to_owned(),
            text: String::new(),
            flags: Vec::new(),
            refused: None,
            seed: None,
            may_be_refused: false,
            is_newer: false,
            not_before: None,
        };
        while let Some((option, rest)) = text.strip_prefix("= ").and_then(|rest| rest.split_once('\n')) {
            let (word, value) = option.split_once(' ').unwrap_or((option, ""));
            match word {
                "newer" => tail.is_newer = true,
                "not" => tail.not_before = Some(value.to_owned()),
                "flag" => tail.flags.push(value.to_owned()),
                "seed" => tail.seed = Some(value.replace("\\n", "\n") + "\nLABEL seed=1\n"),
                "refused" => tail.refused = Some(value.to_owned()),
                _ => panic!("{name}: what is `{option}`?"),
            }
            text = rest;
        }
        Tail { text: text.to_owned(), ..tail }
    });
    tails.collect()
}

#[test]
fn an_image_that_is_grafted_is_the_one_that_docker_builds() {
    let tails = tails();
    assert!(tails.len() >= 60, "{}", tails.len());
    let engines = engines();
    std::thread::scope(|scope| {
        for (number, engine) in engines.iter().enumerate() {
            let tails = &tails;
            scope.spawn(move || {
                let is_old = engine.major() < NEWER_FRONTEND;
                let fit = |tail: &&Tail| !is_old || !tail.is_newer && tail.not_before.is_none();
                // Each engine takes others.
                let (first, share) = if is_full() { (0, 1) } else { (number, SHARE) };
                let share = tails.iter().skip(first).step_by(share);
                let tails: Vec<Tail> = share.filter(fit).cloned().collect();
                let [grafted, built, failed] = Bench::new(engine).compare_all(&tails);
                assert!(grafted > tails.len() / 2, "{}: {grafted} {built} {failed}", engine.name);
            });
        }
    });
}
