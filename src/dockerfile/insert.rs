//! Adds flags to the instructions of a Dockerfile in memory; all lines keep their numbers. Pure.

use std::collections::BTreeMap;

/// Adds `flags` after the keywords of the instructions that start at these lines, counted from 1.
pub(crate) fn insert_flags(text: &str, flags: &BTreeMap<usize, Vec<String>>) -> String {
    let mut changed = String::with_capacity(text.len() + 256);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let keyword = line.trim_start();
        let indent = line.len() - keyword.len();
        let end = keyword.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(keyword.len());
        match flags.get(&number) {
            Some(flags) if end > 0 => {
                changed.push_str(&line[..indent + end]);
                for flag in flags {
                    changed.push(' ');
                    changed.push_str(flag);
                }
                changed.push_str(&line[indent + end..]);
            }
            _ => changed.push_str(line),
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_added_after_the_keyword_and_lines_keep_their_numbers() {
        let text = "FROM a\r\n  run\tpip install \\\n  x\nRUN <<E\nRUN\nE\nRUN\n";
        let flags = |lines: &[usize]| {
            lines.iter().map(|line| (*line, vec!["--x=1".to_owned(), "--y".to_owned()])).collect()
        };
        assert_eq!(
            insert_flags(text, &flags(&[2, 4])),
            "FROM a\r\n  run --x=1 --y\tpip install \\\n  x\nRUN --x=1 --y <<E\nRUN\nE\nRUN\n"
        );
        assert_eq!(insert_flags(text, &flags(&[])), text);
    }
}
