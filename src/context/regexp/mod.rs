//! The subset of Go's regular expressions that ignore patterns can produce. Contains no rules of ignore patterns.
//!
//! moby's matcher rewrites a pattern with wildcards into a regular expression and copies some characters unchanged
//! (`^`, `|`, `{`, `}`, `\d`, `\b`, classes). Go's `regexp` package (RE2 syntax) determines their meaning, so this
//! module has the same syntax: literals, escapes, classes, `^ $ \b`, `|`, repetition and groups. The only difference is
//! that Unicode classes (`\p{Greek}`), which Go accepts, are refused here. `.` does not match a newline.
//!
//! An expression runs as a set of threads over a small program (Thompson's construction), so that matching takes at
//! most one step for each instruction and character.

mod parse;

pub(super) use parse::SyntaxError;
use parse::{Assertion, CharacterSet, SyntaxNode};

/// A compiled expression. Like Go's `MatchString`, it may match any part of a text.
#[derive(Debug, Clone)]
pub(super) struct Regexp {
    program: Vec<RegexpOperation>,
    /// `true` if every alternative starts with `^`.
    is_anchored: bool,
    /// Literal texts that reject most paths quickly: the start, the end, and the longest part of any match.
    prefix: String,
    suffix: String,
    infix: String,
}

#[derive(Debug, Clone)]
enum RegexpOperation {
    Consume(CharacterSet),
    Assert(Assertion),
    /// Continues at both instructions.
    Split(usize, usize),
    Jump(usize),
    Accept,
}

impl Regexp {
    pub(super) fn new(expression: &str) -> Result<Self, SyntaxError> {
        let alternatives = parse::parse(expression)?;
        let begins = |sequence: &Vec<SyntaxNode>| {
            matches!(sequence.first(), Some(SyntaxNode::Assert(Assertion::Begin)))
        };
        let anchored = alternatives.iter().all(begins);
        let (mut prefix, mut suffix, mut inside) = Default::default();
        if let ([sequence], true) = (alternatives.as_slice(), anchored) {
            let mut runs: Vec<String> =
                sequence[1..].split(|node| literal(node).is_none()).map(text_of).collect();
            prefix = runs.first().cloned().unwrap_or_default();
            if let Some((SyntaxNode::Assert(Assertion::End), body)) = sequence.split_last() {
                let start = body.iter().rposition(|node| literal(node).is_none()).map_or(0, |at| at + 1);
                suffix = text_of(&body[start..]);
            }
            runs.sort_by_key(String::len);
            inside = runs.pop().unwrap_or_default();
        }
        let mut program = Vec::new();
        emit_alternatives(&alternatives, &mut program);
        program.push(RegexpOperation::Accept);
        Ok(Self { program, is_anchored: anchored, prefix, suffix, infix: inside })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        if !(text.starts_with(&self.prefix) && text.ends_with(&self.suffix) && text.contains(&self.infix)) {
            return false;
        }
        let mut current = ThreadSet::new(self.program.len());
        let mut next = ThreadSet::new(self.program.len());
        let mut before = None;
        let mut rest = text.chars();
        loop {
            let here = rest.next();
            let may_start = before.is_none() || !self.is_anchored;
            if may_start && self.follow(0, &mut current, (before, here)) {
                return true;
            }
            if self.is_anchored && current.list.is_empty() {
                return false;
            }
            let Some(char) = here else { return false };
            let ahead = (here, rest.clone().next());
            for &at in &current.list {
                if let RegexpOperation::Consume(set) = &self.program[at]
                    && set.contains(char)
                    && self.follow(at + 1, &mut next, ahead)
                {
                    return true;
                }
            }
            std::mem::swap(&mut current, &mut next);
            next.clear();
            before = here;
        }
    }

    /// Adds every thread that can be reached from `start` without consuming a character. Returns `true` if one of them
    /// accepts.
    fn follow(&self, start: usize, threads: &mut ThreadSet, around: (Option<char>, Option<char>)) -> bool {
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            if !threads.visit(at) {
                continue;
            }
            match &self.program[at] {
                RegexpOperation::Consume(_) => threads.list.push(at),
                RegexpOperation::Assert(assertion) if assertion.holds(around) => open.push(at + 1),
                RegexpOperation::Assert(_) => {}
                RegexpOperation::Split(first, second) => open.extend([*second, *first]),
                RegexpOperation::Jump(target) => open.push(*target),
                RegexpOperation::Accept => return true,
            }
        }
        false
    }
}

/// The threads at one position of the text, without duplicates.
struct ThreadSet {
    list: Vec<usize>,
    seen: Vec<u32>,
    generation: u32,
}

impl ThreadSet {
    fn new(size: usize) -> Self {
        Self { list: Vec::new(), seen: vec![0; size], generation: 1 }
    }

    fn visit(&mut self, at: usize) -> bool {
        std::mem::replace(&mut self.seen[at], self.generation) != self.generation
    }

    fn clear(&mut self) {
        self.list.clear();
        self.generation += 1;
    }
}

fn literal(node: &SyntaxNode) -> Option<char> {
    match node {
        SyntaxNode::Set(CharacterSet::One(char)) => Some(*char),
        _ => None,
    }
}

fn text_of(nodes: &[SyntaxNode]) -> String {
    nodes.iter().filter_map(literal).collect()
}

fn emit_alternatives(alternatives: &[Vec<SyntaxNode>], program: &mut Vec<RegexpOperation>) {
    let mut ends = Vec::new();
    for (index, sequence) in alternatives.iter().enumerate() {
        let split = program.len();
        let last = index + 1 == alternatives.len();
        if !last {
            program.push(RegexpOperation::Split(split + 1, 0));
        }
        for node in sequence {
            emit(node, program);
        }
        if !last {
            ends.push(program.len());
            program.push(RegexpOperation::Jump(0));
            program[split] = RegexpOperation::Split(split + 1, program.len());
        }
    }
    let end = program.len();
    for jump in ends {
        program[jump] = RegexpOperation::Jump(end);
    }
}

fn emit(node: &SyntaxNode, program: &mut Vec<RegexpOperation>) {
    match node {
        SyntaxNode::Set(set) => program.push(RegexpOperation::Consume(set.clone())),
        SyntaxNode::Assert(assertion) => program.push(RegexpOperation::Assert(*assertion)),
        SyntaxNode::Group(alternatives) => emit_alternatives(alternatives, program),
        SyntaxNode::Repeat { node, min, max } => {
            for _ in 0..*min {
                emit(node, program);
            }
            let Some(max) = max else {
                let split = program.len();
                program.push(RegexpOperation::Jump(0));
                emit(node, program);
                program.push(RegexpOperation::Jump(split));
                program[split] = RegexpOperation::Split(split + 1, program.len());
                return;
            };
            let mut splits = Vec::new();
            for _ in *min..*max {
                splits.push(program.len());
                program.push(RegexpOperation::Jump(0));
                emit(node, program);
            }
            let end = program.len();
            for split in splits {
                program[split] = RegexpOperation::Split(split + 1, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_in_go() {
        let table = [
            ("^a$", "a", true),
            ("^a$", "ab", false),
            ("b", "abc", true),
            ("^a|c$", "xc", true),
            ("^a|c$", "xcx", false),
            ("^$", "", true),
            ("^x*$", "", true),
            ("^(.*/)?x$", "x", true),
            ("^(.*/)?x$", "a/b/x", true),
            ("^(.*/)?x$", "ax", false),
            ("^(.*/)?x$", "a\n/x", false),
            ("^[^/]*$", "a\nb", true),
            ("^a{2}$", "aa", true),
            ("^a{2,3}b$", "aaab", true),
            ("^a{2,3}b$", "aaaab", false),
            ("^a{2,}b$", "aaaaab", true),
            ("^a{,2}$", "a{,2}", true),
            ("^a{x}$", "a{x}", true),
            ("^{2}a$", "a", true),
            ("^\\d\\w\\s$", "1_ ", true),
            ("^\\D\\W\\S$", "a-b", true),
            ("^a\\b-\\B-$", "a--", true),
            ("^\\x41\\x{e9}\\101\\0$", "Aé\u{41}\0", true),
            ("^\\Qa.*\\Eb$", "a.*b", true),
            ("^\\Qa.*", "a.*", true),
            ("^\\Ax\\z$", "x", true),
            ("^[\\d.-]+$", "1.-", true),
            ("^[[:alpha:]_]$", "_", true),
            ("^[[:^alpha:]]$", "a", false),
            ("^[a-c^]$", "^", true),
            ("^[]a]$", "]", true),
            ("^a]$", "a]", true),
            ("^[[^/]*]$", "[^/]", true),
            ("^a^b$", "ab", false),
            ("^|[^/]*$", "a/b", true),
        ];
        for (expression, text, expected) in table {
            let regexp = Regexp::new(expression).unwrap_or_else(|_| panic!("{expression}"));
            assert_eq!(regexp.is_match(text), expected, "{expression} on {text:?}");
        }
    }

    #[test]
    fn expressions_that_go_refuses_are_refused() {
        let table = [
            "[a",
            "[b-a]",
            "[[:what:]]",
            "\\",
            "\\c",
            "\\é",
            "\\1",
            "\\C",
            "\\xg",
            "a|{2}",
            "a*{2}",
            "a{2}{3}",
            "a{3,2}",
            "a{1001}",
            "\\pL",
        ];
        for expression in table {
            assert!(Regexp::new(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn nested_choices_take_linear_time() {
        let expression = format!("^{}b$", "(.*/)?[^/]*".repeat(60));
        assert!(!Regexp::new(&expression).unwrap().is_match(&"a/".repeat(400)));
        assert!(!Regexp::new(&format!("^{}c$", "[^/]*".repeat(100))).unwrap().is_match(&"ab".repeat(2000)));
    }
}
