//! `$name`, `${name}` and the forms with a modifier: `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`.

use super::ExpandError;
use super::lexer::Lexer;
use super::pattern::SubstitutionPattern;

impl Lexer<'_> {
    pub(super) fn substitution(&mut self) -> Result<String, ExpandError> {
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
            None => return Err(ExpandError::MissingDelimiter('}')),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.chars.next() {
            None => Err(ExpandError::MissingDelimiter('}')),
            Some('}') => Ok(match self.get(&name) {
                None if self.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.chars.next() {
                None => Err(ExpandError::MissingDelimiter('}')),
                Some(modifier @ ('#' | '%')) => Err(ExpandError::UnsupportedModifier(format!(":{modifier}"))),
                Some(modifier) => self.conditional(&name, modifier, true),
            },
            Some(modifier @ ('-' | '+' | '?')) => self.conditional(&name, modifier, false),
            Some(modifier @ ('#' | '%')) => self.trim_substitution(&name, modifier),
            Some('/') => self.replace_substitution(&name),
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
        if !matches!(modifier, '-' | '+' | '?') {
            // For example Bash's `${x:0:3}`, which is valid only for the shell.
            return Err(ExpandError::UnsupportedModifier(format!(":{modifier}")));
        }
        match (modifier, value) {
            ('+', None) => Ok(String::new()),
            ('-', None) | ('+', Some(_)) => Ok(word),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let default = if unset { "is not allowed to be unset" } else { "is not allowed to be empty" };
                let message = if word.is_empty() { default.to_owned() } else { word };
                Err(ExpandError::RequiredVariable { name: name.to_owned(), message })
            }
        }
    }

    fn trim_substitution(&mut self, name: &str, modifier: char) -> Result<String, ExpandError> {
        let (word, _) = self.run(Some('}'), true)?;
        let value = match self.get(name) {
            None if self.keep_unset => return Ok(format!("${{{name}{modifier}{word}}}")),
            value => value.unwrap_or_default(),
        };
        let (pattern, longest) =
            word.strip_prefix(modifier).map_or((word.as_str(), false), |rest| (rest, true));
        let pattern = SubstitutionPattern::compile(pattern)?;
        match modifier {
            '#' => pattern.trim_prefix(&value, longest),
            _ => pattern.trim_suffix(&value, longest),
        }
    }

    fn replace_substitution(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let (pattern, _) = self.run(Some('/'), true)?;
        let (replacement, _) = self.run(Some('}'), true)?;
        let value = match self.get(name) {
            None if self.keep_unset => return Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => value.unwrap_or_default(),
        };
        if all && replacement.contains('$') {
            // The frontend interprets this `$` as a template of its regular expression library, which is never
            // intended.
            return Err(ExpandError::DollarInReplacement);
        }
        SubstitutionPattern::compile(&pattern)?.replace(&value, &replacement, all)
    }

    /// Reads a name, a run of digits, or one of the shell's special parameters.
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
}
