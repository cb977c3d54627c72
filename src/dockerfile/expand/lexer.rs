//! Reads a word or a line in one pass: handles quotes and escapes, inserts variables, and splits words.

use std::collections::BTreeSet;

use super::{ExpandError, Expansion, MAX_DEPTH, MAX_WORD_BYTES};

#[derive(Default)]
struct WordSplitter {
    done: Vec<String>,
    word: String,
}

impl WordSplitter {
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

pub(super) struct Lexer<'a> {
    pub(super) chars: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    pub(super) keep_quotes: bool,
    keep_escapes: bool,
    /// `true` if `$x` is kept as written when `x` is unset.
    pub(super) keep_unset: bool,
    /// `true` if quotes are special characters.
    pub(super) has_quotes: bool,
    unset: BTreeSet<String>,
    depth: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(word: &'a str, escape: char, lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            chars: word.chars().peekable(),
            escape,
            lookup,
            keep_quotes: false,
            keep_escapes: false,
            keep_unset: false,
            has_quotes: true,
            unset: BTreeSet::new(),
            depth: 0,
        }
    }

    pub(super) fn expand(mut self) -> Result<Expansion, ExpandError> {
        let (text, _) = self.run(None, false)?;
        Ok(Expansion { text, unset: self.unset })
    }

    /// Reads up to and including `stop`, or to the end. Returns the text, and its words.
    pub(super) fn run(
        &mut self,
        stop: Option<char>,
        keep_escapes: bool,
    ) -> Result<(String, Vec<String>), ExpandError> {
        if self.depth > MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.keep_escapes, keep_escapes);
        let read = self.read_until(stop);
        self.keep_escapes = outer;
        self.depth -= 1;
        read
    }

    fn read_until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut text = String::new();
        let mut words = WordSplitter::default();
        while let Some(&char) = self.chars.peek() {
            if Some(char) == stop {
                self.chars.next();
                return Ok((text, words.finish()));
            }
            match char {
                '\'' | '"' | '<' if self.has_quotes => {
                    let piece = match char {
                        '\'' => self.single_quoted()?,
                        '"' => self.double_quoted()?,
                        _ => self.angle_brackets(),
                    };
                    text.push_str(&piece);
                    words.word.push_str(&piece);
                }
                '$' => {
                    let value = self.substitution()?;
                    self.append(&mut text, &value)?;
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
            Some(stop) => Err(ExpandError::MissingDelimiter(stop)),
            None => Ok((text, words.finish())),
        }
    }

    fn append(&self, text: &mut String, value: &str) -> Result<(), ExpandError> {
        // If variables are kept as written, the text does not grow, and a line may be longer than a word.
        if !self.keep_unset && text.len() + value.len() > MAX_WORD_BYTES {
            return Err(ExpandError::TooLong);
        }
        text.push_str(value);
        Ok(())
    }

    pub(super) fn get(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() {
            self.unset.insert(name.to_owned());
        }
        value
    }

    /// Reads a single-quoted string, in which every character is literal.
    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        let mut text = String::new();
        loop {
            match self.chars.next() {
                None => return Err(ExpandError::UnclosedQuote('\'')),
                Some('\'') => return Ok(self.quoted(text, '\'')),
                Some(char) => text.push(char),
            }
        }
    }

    fn quoted(&self, text: String, quote: char) -> String {
        if self.keep_quotes { format!("{quote}{text}{quote}") } else { text }
    }

    /// Reads a double-quoted string, in which only variables are special, and the escape before `"`, `$` and itself.
    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        let mut text = String::new();
        loop {
            match self.chars.peek() {
                None => return Err(ExpandError::UnclosedQuote('"')),
                Some('"') => {
                    self.chars.next();
                    return Ok(self.quoted(text, '"'));
                }
                Some('$') => {
                    let value = self.substitution()?;
                    self.append(&mut text, &value)?;
                }
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
    }

    /// Reads `<` or `<<`. `<<` includes the blanks after it, so that `<< EOF` is one word.
    fn angle_brackets(&mut self) -> String {
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
}
