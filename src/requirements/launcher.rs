//! Words and programs that precede the actual program of a command line.

pub(crate) const PREFIX_WORDS: [&str; 16] = [
    "if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "exec", "command", "builtin",
    "nohup", "noglob", "setsid",
];

/// Tools that run a program in their environment: `conda run -n web pip install …`.
pub(crate) const RUNNER_TOOLS: [&str; 9] =
    ["conda", "mamba", "micromamba", "poetry", "uv", "pipenv", "pdm", "hatch", "rye"];

/// A program that starts the program in its arguments, such as `sudo`.
#[derive(Debug)]
pub(crate) struct Wrapper {
    name: &'static str,
    value_options: &'static [&'static str],
    /// The number of words between the options and the started program, such as a duration, a directory or a user.
    operands: usize,
    /// `true` if the started program may run as a different user or see different files.
    pub(crate) is_foreign: bool,
}

const fn wrapper_of(name: &'static str, valued: &'static [&'static str], words: usize) -> Wrapper {
    Wrapper { name, value_options: valued, operands: words, is_foreign: false }
}

const fn foreign_wrapper(name: &'static str, valued: &'static [&'static str], words: usize) -> Wrapper {
    Wrapper { name, value_options: valued, operands: words, is_foreign: true }
}

const WRAPPERS: [Wrapper; 17] = [
    wrapper_of("env", &["-u", "-C", "-S"], 0),
    wrapper_of("nice", &["-n"], 0),
    wrapper_of("ionice", &["-n", "-c"], 0),
    wrapper_of("timeout", &["-k", "-s"], 1),
    wrapper_of("stdbuf", &["-i", "-o", "-e"], 0),
    wrapper_of("xargs", &["-n", "-I", "-P", "-L", "-s", "-a", "-d", "-E"], 0),
    foreign_wrapper("sudo", &["-u", "-g", "-h", "-p", "-C", "-D", "-R", "-T"], 0),
    foreign_wrapper("doas", &["-u", "-C"], 0),
    foreign_wrapper("su-exec", &[], 1),
    foreign_wrapper("gosu", &[], 1),
    foreign_wrapper("chroot", &[], 1),
    foreign_wrapper("setpriv", &[], 0),
    foreign_wrapper("runuser", &["-u", "-g"], 0),
    foreign_wrapper("su", &["-s", "-g"], 1),
    foreign_wrapper("unshare", &[], 0),
    foreign_wrapper("fakeroot", &[], 0),
    foreign_wrapper("fakechroot", &[], 0),
];

pub(crate) fn wrapper(program: &str) -> Option<&'static Wrapper> {
    WRAPPERS.iter().find(|wrapper| wrapper.name == program)
}

impl Wrapper {
    /// Returns the number of `words` before the started program, including the wrapper itself.
    pub(crate) fn prefix_length(&self, words: &[String]) -> usize {
        let mut taken = 1;
        while let Some(word) = words.get(taken).filter(|word| word.starts_with('-')) {
            taken += if self.value_options.contains(&word.as_str()) { 2 } else { 1 };
        }
        (taken + self.operands).min(words.len())
    }
}

pub(crate) fn program_name(word: &str) -> &str {
    let name = word.rsplit('/').next().unwrap_or(word);
    name.strip_suffix(".exe").unwrap_or(name)
}

/// Returns `true` for `pip`, `pip3`, `pip3.11` if `name` is `pip`.
pub(crate) fn is_versioned(program: &str, name: &str) -> bool {
    program
        .strip_prefix(name)
        .is_some_and(|version| version.chars().all(|char| char.is_ascii_digit() || char == '.'))
}
