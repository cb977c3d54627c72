//! Variable expansion as the Dockerfile frontend does it.
//!
//! One left-to-right pass removes quotes and escapes and replaces `$name`,
//! `${name}` and the forms with a modifier (`:-` `-` `:+` `+` `:?` `?` `#`
//! `##` `%` `%%` `/` `//`). It is a pure function of the word and a lookup.
//! The same lexer splits a line into words for the here-document detection,
//! with quotes, escapes and variables left as they stand.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/shell/lex.go`.

use std::collections::BTreeSet;

use super::pattern::Pattern;

/// What a word expands to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// The word with its variables replaced and its quotes removed.
    pub text: String,
    /// The variables that were looked up in vain.
    pub unmatched: BTreeSet<String>,
}

/// A word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote is opened and never closed.
    #[error("unclosed quote {0}")]
    UnclosedQuote(char),
    /// `${` is never closed, or a `${x/…` lacks its second slash.
    #[error("missing `{0}` in a substitution")]
    Unclosed(char),
    /// `${}`, `${:…}` or `${{…}`.
    #[error("bad substitution")]
    BadSubstitution,
    /// `${x…}` with a modifier that the frontend does not know.
    #[error("unsupported modifier `{0}` in a substitution")]
    UnsupportedModifier(String),
    /// `${x?…}` of an unset variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says about it.
        message: String,
    },
    /// A pattern escapes what cannot be escaped.
    #[error("invalid pattern `{pattern}` in a substitution")]
    InvalidPattern {
        /// The pattern as written.
        pattern: String,
    },
}

/// Expands `word`, with `escape` as the escape character.
///
/// # Errors
///
/// Fails where the frontend would: unbalanced quotes and braces, unknown
/// modifiers, invalid patterns, and `${x?message}` of an unset `x`.
pub fn expand(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded, ExpandError> {
    let mut lexer = Lexer::new(word, escape, lookup);
    let (text, _) = lexer.run(None, false)?;
    Ok(Expanded { text, unmatched: lexer.unmatched })
}

/// Splits `line` into words; quotes and escapes stay when `raw`, unset
/// variables always do.
pub(super) fn words(line: &str, raw: bool) -> Result<Vec<String>, ExpandError> {
    let mut lexer = Lexer::new(line, '\\', &|_| None);
    lexer.keep_quotes = raw;
    lexer.keep_escapes = raw;
    lexer.keep_unset = true;
    Ok(lexer.run(None, raw)?.1)
}

/// As [`words`], with quotes kept and escapes removed.
pub(super) fn words_with_quotes(line: &str) -> Result<Vec<String>, ExpandError> {
    let mut lexer = Lexer::new(line, '\\', &|_| None);
    lexer.keep_quotes = true;
    lexer.keep_unset = true;
    Ok(lexer.run(None, false)?.1)
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn push(&mut self, char: char) {
        if !char.is_whitespace() {
            self.word.push(char);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Lexer<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    keep_quotes: bool,
    keep_escapes: bool,
    keep_unset: bool,
    unmatched: BTreeSet<String>,
}

impl<'a> Lexer<'a> {
    fn new(word: &'a str, escape: char, lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            chars: word.chars().peekable(),
            escape,
            lookup,
            keep_quotes: false,
            keep_escapes: false,
            keep_unset: false,
            unmatched: BTreeSet::new(),
        }
    }

    /// Reads up to and with `stop`, or to the end.
    fn run(&mut self, stop: Option<char>, keep_escapes: bool) -> Result<(String, Vec<String>), ExpandError> {
        let outer = std::mem::replace(&mut self.keep_escapes, keep_escapes);
        let read = self.read_until(stop);
        self.keep_escapes = outer;
        read
    }

    fn read_until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(&char) = self.chars.peek() {
            if Some(char) == stop {
                self.chars.next();
                return Ok((text, words.finish()));
            }
            match char {
                '\'' | '"' | '<' => {
                    let piece = match char {
                        '\'' => self.single_quoted()?,
                        '"' => self.double_quoted()?,
                        _ => self.angle(),
                    };
                    text.push_str(&piece);
                    words.word.push_str(&piece);
                }
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    value.chars().for_each(|char| words.push(char));
                }
                _ => {
                    self.chars.next();
                    if char != self.escape {
                        text.push(char);
                        words.push(char);
                        continue;
                    }
                    if self.keep_escapes {
                        text.push(char);
                        words.word.push(char);
                    }
                    let Some(escaped) = self.chars.next() else { break };
                    text.push(escaped);
                    words.word.push(escaped);
                }
            }
        }
        match stop {
            Some(stop) => Err(ExpandError::Unclosed(stop)),
            None => Ok((text, words.finish())),
        }
    }

    /// Everything between single quotes stands for itself.
    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        let mut text = String::new();
        if self.keep_quotes {
            text.push('\'');
        }
        loop {
            match self.chars.next() {
                None => return Err(ExpandError::UnclosedQuote('\'')),
                Some('\'') => break,
                Some(char) => text.push(char),
            }
        }
        if self.keep_quotes {
            text.push('\'');
        }
        Ok(text)
    }

    /// Between double quotes only variables are special, and the escape
    /// before `"`, `$` and itself.
    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        let mut text = String::new();
        if self.keep_quotes {
            text.push('"');
        }
        loop {
            match self.chars.peek() {
                None => return Err(ExpandError::UnclosedQuote('"')),
                Some('"') => {
                    self.chars.next();
                    break;
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(&char) => {
                    self.chars.next();
                    if char != self.escape {
                        text.push(char);
                        continue;
                    }
                    if self.keep_escapes {
                        text.push(char);
                    }
                    match self.chars.peek() {
                        None => {}
                        Some(&escaped) if matches!(escaped, '"' | '$') || escaped == self.escape => {
                            text.push(escaped);
                            self.chars.next();
                        }
                        Some(_) => text.push(char),
                    }
                }
            }
        }
        if self.keep_quotes {
            text.push('"');
        }
        Ok(text)
    }

    /// `<<` keeps the blanks behind it, so that `<< EOF` is one word.
    fn angle(&mut self) -> String {
        self.chars.next();
        let mut text = String::from('<');
        if self.chars.next_if_eq(&'<').is_some() {
            text.push('<');
            while let Some(blank) = self.chars.next_if(|char| matches!(char, '\t' | '\r' | ' ')) {
                text.push(blank);
            }
        }
        text
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.get(&name) {
                None if self.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        match self.chars.peek() {
            None => return Err(ExpandError::Unclosed('}')),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.chars.next() {
            None => Err(ExpandError::Unclosed('}')),
            Some('}') => Ok(match self.get(&name) {
                None if self.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.chars.next() {
                None => Err(ExpandError::Unclosed('}')),
                Some(modifier @ ('-' | '+' | '?')) => self.conditional(&name, modifier, true),
                Some(modifier) => Err(ExpandError::UnsupportedModifier(format!(":{modifier}"))),
            },
            Some(modifier @ ('-' | '+' | '?')) => self.conditional(&name, modifier, false),
            Some(modifier @ ('#' | '%')) => self.trimmed(&name, modifier),
            Some('/') => self.replaced(&name),
            Some(modifier) => Err(ExpandError::UnsupportedModifier(modifier.to_string())),
        }
    }

    fn conditional(
        &mut self,
        name: &str,
        modifier: char,
        empty_is_unset: bool,
    ) -> Result<String, ExpandError> {
        let (word, _) = self.run(Some('}'), false)?;
        let value = self.get(name);
        if value.is_none() && self.keep_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let unset = value.is_none();
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, value) {
            ('+', None) => Ok(String::new()),
            ('-', None) | ('+', Some(_)) => Ok(word),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let default = if unset { "is not allowed to be unset" } else { "is not allowed to be empty" };
                let message = if word.is_empty() { default.to_owned() } else { word };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
        }
    }

    fn trimmed(&mut self, name: &str, modifier: char) -> Result<String, ExpandError> {
        let (word, _) = self.run(Some('}'), true)?;
        let value = match self.get(name) {
            None if self.keep_unset => return Ok(format!("${{{name}{modifier}{word}}}")),
            value => value.unwrap_or_default(),
        };
        let (pattern, longest) =
            word.strip_prefix(modifier).map_or((word.as_str(), false), |rest| (rest, true));
        let pattern = Pattern::compile(pattern)?;
        Ok(match modifier {
            '#' => pattern.trim_prefix(&value, longest),
            _ => pattern.trim_suffix(&value, longest),
        })
    }

    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let (pattern, _) = self.run(Some('/'), true)?;
        let (replacement, _) = self.run(Some('}'), true)?;
        let value = match self.get(name) {
            None if self.keep_unset => return Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => value.unwrap_or_default(),
        };
        if all && replacement.contains('$') {
            // The frontend reads `$` in there as its regular expression
            // library's template. Nobody means that: refuse, do not guess.
            return Err(ExpandError::UnsupportedModifier("//…/…$".to_owned()));
        }
        Ok(Pattern::compile(&pattern)?.replace(&value, &replacement, all))
    }

    /// A name, a run of digits, or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&char) = self.chars.peek() {
            if name.is_empty() && char.is_numeric() {
                while let Some(digit) = self.chars.next_if(|char| char.is_numeric()) {
                    name.push(digit);
                }
                return name;
            }
            if name.is_empty() && matches!(char, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.chars.next();
                return char.to_string();
            }
            if !char.is_alphanumeric() && char != '_' {
                break;
            }
            name.push(char);
            self.chars.next();
        }
        name
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() {
            self.unmatched.insert(name.to_owned());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "PWD" => "/home",
            "SHELL" => "bash",
            "NULL" => "",
            "VERSION" => "1.2.3-rc.1",
            "PATHS" => "a/b/c.tar.gz",
            "STAR" => "a*b",
            "KOREAN" => "한국어",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn expanded(word: &str) -> Option<String> {
        expand(word, '\\', &lookup).ok().map(|expanded| expanded.text)
    }

    #[test]
    fn words_expand_as_the_frontend_expands_them() {
        let table: &[(&str, &str)] = &[
            // quotes and escapes
            ("hello", "hello"),
            ("he'll'o", "hello"),
            (r"he\'llo", "he'llo"),
            (r"abc\tdef", "abctdef"),
            (r#""abc\tdef""#, r"abc\tdef"),
            (r#""abc\\tdef""#, r"abc\tdef"),
            (r"'abc\tdef'", r"abc\tdef"),
            (r"hello\", "hello"),
            (r"hello\\", r"hello\"),
            (r#""he\$PWD""#, "he$PWD"),
            ("'$PWD'", "$PWD"),
            (r#""he'$PWD'""#, "he'/home'"),
            ("안'녕'하세요", "안녕하세요"),
            // plain variables
            ("$.", "$."),
            ("he$1x", "hex"),
            ("$999aaa", "aaa"),
            ("$@@@", "@@"),
            ("$$", ""),
            ("he$pwd.", "he."),
            ("he$PWD", "he/home"),
            (r"he\\$PWD", r"he\/home"),
            ("${aaa}}", "}"),
            ("안녕$KOREAN", "안녕한국어"),
            // defaults, alternatives, demands
            ("${XXX:-000}", "000"),
            ("${XXX-000}", "000"),
            ("${NULL:-000}", "000"),
            ("${NULL-000}", ""),
            ("${XXX:-${YYY:-$PWD}}", "/home"),
            ("${PWD:+${PWD}:}xx", "/home:xx"),
            ("${NULL:+000}", ""),
            ("${NULL+000}", "000"),
            ("${XXX:+000}", ""),
            (r"${XXX:-\$PWD:}xx", "$PWD:xx"),
            ("${aaa:-bbb {foo}", "bbb {foo"),
            ("${PWD:?}", "/home"),
            ("${NULL?}", ""),
            // prefixes and suffixes
            ("${VERSION#1.}", "2.3-rc.1"),
            ("${VERSION#*.}", "2.3-rc.1"),
            ("${VERSION##*.}", "1"),
            ("${VERSION%.*}", "1.2.3-rc"),
            ("${VERSION%%.*}", "1"),
            ("${VERSION%%-*}", "1.2.3"),
            ("${VERSION#?.}", "2.3-rc.1"),
            ("${VERSION#x}", "1.2.3-rc.1"),
            ("${STAR%\\**}", "a"),
            ("${XXX#a}", ""),
            // replacement
            ("${PATHS/\\//-}", "a-b/c.tar.gz"),
            ("${PATHS//\\//-}", "a-b-c.tar.gz"),
            ("${PATHS/.*/}", "a/b/c"),
            ("${VERSION//./_}", "1_2_3-rc_1"),
            ("${VERSION/$XXX/v}", "v1.2.3-rc.1"),
            ("${NULL//*/x}", "x"),
            ("${XXX/*/x}", "x"),
            ("${STAR//?/x}", "xxx"),
        ];
        for (word, text) in table {
            assert_eq!(expanded(word).as_deref(), Some(*text), "{word}");
        }
    }

    #[test]
    fn what_the_frontend_refuses_is_refused() {
        for word in [
            "he'llo",
            r"he\\'llo",
            r#""hello"#,
            r#""hello\""#,
            "${}",
            "he${}xx",
            "${.}",
            "${XXX:YYY}",
            "${XXX?}",
            "${XXX:?}",
            "${NULL:?}",
            "${PWD:=000}",
            "${PWD",
            "${{aaa}",
            "${:-bbb}",
            "${aaa:-bbb ${foo}",
            "${PWD:#a}",
            "${PWD/a}",
            "${PWD#\\a}",
        ] {
            assert_eq!(expanded(word), None, "{word}");
        }
    }

    #[test]
    fn the_escape_character_can_be_the_backtick() {
        let text = |word| expand(word, '`', &lookup).unwrap().text;
        assert_eq!(text(r"C:\dir\$PWD"), r"C:\dir\/home");
        assert_eq!(text("`$PWD"), "$PWD");
        assert_eq!(text("\"`$PWD\""), "$PWD");
    }

    #[test]
    fn variables_that_nobody_set_are_named() {
        let expanded = expand("$PWD ${A:-x} $B", '\\', &lookup).unwrap();
        assert_eq!(expanded.text, "/home x ");
        assert_eq!(expanded.unmatched, BTreeSet::from(["A".to_owned(), "B".to_owned()]));
    }

    #[test]
    fn a_demand_says_what_the_dockerfile_says() {
        let error = expand("${TOKEN:?pass --build-arg TOKEN}", '\\', &lookup).unwrap_err();
        assert_eq!(error.to_string(), "TOKEN: pass --build-arg TOKEN");
    }
}
