//! A minimal shell parser that finds simple commands.
//!
//! Quotes and escapes are removed, variables stay as written. Commands are separated by `&&`, `||`, `;`, `|`, `&`, line
//! ends and parentheses. The contents of `$(…)` and back quotes are separate commands before the command that contains
//! them. The file of an output redirection is not a word of the command, but the file of an input redirection is,
//! because it may be a list of packages. For each command, the parser records whether it reads the output of a
//! different command, and its nesting depth in parentheses.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShellCommand {
    pub(crate) words: Vec<String>,
    /// Files of input redirections, which are also in `words`.
    pub(super) inputs: Vec<String>,
    /// Files of output redirections.
    pub(crate) outputs: Vec<String>,
    /// `true` if a different command reads its output, through a pipe or a substitution.
    pub(super) feeds: bool,
    pub(super) takes: bool,
    /// The number of open parentheses and substitutions around it.
    pub(super) depth: usize,
}

impl ShellCommand {
    pub(crate) fn of_words(words: &[String]) -> Self {
        Self { words: words.to_owned(), ..Self::default() }
    }
}

pub(crate) fn commands(script: &str) -> Vec<ShellCommand> {
    let mut splitter = Splitter::default();
    let mut chars = script.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some('\n') | None => {}
                // A carriage return precedes the line feed in a CRLF file.
                Some('\r') if chars.peek() == Some(&'\n') => {
                    chars.next();
                }
                Some(escaped) => splitter.push(escaped),
            },
            '\'' => {
                splitter.started = true;
                for quoted in chars.by_ref().take_while(|char| *char != '\'') {
                    splitter.push(quoted);
                }
            }
            '"' => {
                splitter.started = true;
                while let Some(quoted) = chars.next() {
                    match quoted {
                        '"' => break,
                        '\\' => match chars.next() {
                            Some('\n') | None => {}
                            Some(escaped) if matches!(escaped, '"' | '\\' | '$' | '`') => {
                                splitter.push(escaped);
                            }
                            Some(other) => {
                                splitter.push('\\');
                                splitter.push(other);
                            }
                        },
                        quoted if splitter.substitutes(quoted, &mut chars) => {}
                        quoted => splitter.push(quoted),
                    }
                }
            }
            char if splitter.substitutes(char, &mut chars) => {}
            '#' if !splitter.started => while chars.next_if(|char| *char != '\n').is_some() {},
            '\n' | ';' | '|' | '&' | '(' | ')' => {
                // `2>&1` and `&>file` are redirections, not separators.
                if char == '&' && (splitter.redirects || chars.peek() == Some(&'>')) {
                    continue;
                }
                let pipe = char == '|' && chars.next_if_eq(&'|').is_none();
                splitter.command.feeds |= pipe;
                splitter.end_command();
                splitter.command.takes = pipe;
                match char {
                    '(' => splitter.depth += 1,
                    ')' => splitter.depth = splitter.depth.saturating_sub(1),
                    _ => {}
                }
            }
            '<' if splitter.substitutes(char, &mut chars) => {}
            '<' | '>' => {
                let is_descriptor = splitter.word.chars().all(|char| char.is_ascii_digit());
                if is_descriptor {
                    splitter.word.clear();
                    splitter.started = false;
                }
                splitter.end_word();
                let heredoc = char == '<' && chars.next_if_eq(&'<').is_some();
                while chars.next_if(|char| matches!(char, '>' | '|' | '-')).is_some() {}
                splitter.redirects = char == '>' || heredoc;
                splitter.is_heredoc = heredoc;
                splitter.reads = !splitter.redirects;
            }
            char if char.is_whitespace() => {
                // A blank between `>` and its file does not end a word.
                if splitter.started || !splitter.redirects {
                    splitter.end_word();
                }
            }
            char => splitter.push(char),
        }
    }
    splitter.end_command();
    splitter.commands
}

#[derive(Default)]
struct Splitter {
    commands: Vec<ShellCommand>,
    command: ShellCommand,
    depth: usize,
    word: String,
    /// `true` while a word is being read, even an empty one in quotes.
    started: bool,
    /// `true` if the word is the file of an output redirection, which is not a word of the command.
    redirects: bool,
    /// `true` if the word is the delimiter of a here-document.
    is_heredoc: bool,
    /// `true` if the word is the file of an input redirection.
    reads: bool,
}

impl Splitter {
    fn push(&mut self, char: char) {
        self.word.push(char);
        self.started = true;
    }

    /// Reads a command substitution that starts with `char`. Returns `true` if there is one.
    fn substitutes(&mut self, char: char, chars: &mut Peekable<Chars<'_>>) -> bool {
        let mut inner = String::new();
        match char {
            '`' => inner.extend(chars.by_ref().take_while(|char| *char != '`')),
            '$' | '<' if chars.next_if_eq(&'(').is_some() => {
                let mut depth = 1;
                for char in chars.by_ref() {
                    match char {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                    inner.push(char);
                }
            }
            _ => return false,
        }
        let depth = self.depth + 1;
        self.commands.extend(commands(&inner).into_iter().map(|command| ShellCommand {
            feeds: true,
            depth: depth + command.depth,
            ..command
        }));
        self.command.takes = true;
        self.push('$');
        true
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        if self.started && !self.redirects {
            if self.reads {
                self.command.inputs.push(word.clone());
            }
            self.command.words.push(word);
        } else if self.started && !self.is_heredoc {
            self.command.outputs.push(word);
        }
        self.is_heredoc &= !self.started;
        // A blank between `<` and its file does not end a word.
        self.reads &= !self.started;
        self.started = false;
        self.redirects = false;
    }

    fn end_command(&mut self) {
        self.end_word();
        let mut command = std::mem::take(&mut self.command);
        self.reads = false;
        if command.words.is_empty() && !command.outputs.is_empty() {
            // A redirection without a command is equivalent to a redirection of `:`.
            command.words.push(":".to_owned());
        }
        if !command.words.is_empty() {
            self.commands.push(ShellCommand { depth: self.depth, ..command });
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn scripts_are_split_into_simple_commands() {
        let table: &[(&str, &[&[&str]])] = &[
            ("a b && c; d | e || f & g", &[&["a", "b"], &["c"], &["d"], &["e"], &["f"], &["g"]]),
            (
                "pip install \\\n    -r 'my reqs.txt' \\\r\n -c \"c.txt\"",
                &[&["pip", "install", "-r", "my reqs.txt", "-c", "c.txt"]],
            ),
            ("set -e\n# pip install x\npip install y # z", &[&["set", "-e"], &["pip", "install", "y"]]),
            ("a 2>&1 >out.txt b", &[&["a", "b"]]),
            ("xargs pip install < reqs.txt", &[&["xargs", "pip", "install", "reqs.txt"]]),
            ("(cd /x && pip install .)", &[&["cd", "/x"], &["pip", "install", "."]]),
            ("pip install $(cat reqs.txt)", &[&["cat", "reqs.txt"], &["pip", "install", "$"]]),
            ("a \"$(b (c))\" `d` -r x", &[&["b"], &["c"], &["d"], &["a", "$", "$", "-r", "x"]]),
            ("pip install 'a>=1' $REQS", &[&["pip", "install", "a>=1", "$REQS"]]),
            ("a '' b", &[&["a", "", "b"]]),
            ("a &>/dev/null", &[&["a"]]),
            ("a >>log b", &[&["a", "b"]]),
        ];
        for (script, commands) in table {
            let found: Vec<_> = super::commands(script).into_iter().map(|command| command.words).collect();
            assert_eq!(&found, commands, "{script}");
        }
    }

    #[test]
    fn commands_record_whether_they_read_the_output_of_other_commands() {
        let shown = |script: &str| {
            let commands = super::commands(script).into_iter().map(|command| {
                let reads = if command.takes { "<" } else { "" };
                let writes = if command.feeds { ">" } else { "" };
                format!("{}{reads}{}{writes}{}", command.depth, command.words[0], command.inputs.join(","))
            });
            commands.collect::<Vec<_>>()
        };
        for (script, expected) in [
            ("a | b && c || d", &["0a>", "0<b", "0c", "0d"][..]),
            ("a $(b | c) d", &["1b>", "1<c>", "0<a"]),
            ("a -r <(b x)", &["1b>", "0<a"]),
            ("a < b.txt; c <d e", &["0ab.txt", "0cd"]),
            ("(a; (b)) ; c", &["1a", "2b", "0c"]),
            ("a <<E", &["0a"]),
        ] {
            assert_eq!(shown(script), expected, "{script}");
        }
    }
}
