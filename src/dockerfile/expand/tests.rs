//! Tests that words expand as in the frontend.

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
fn words_expand_as_in_the_frontend() {
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
        // defaults, alternatives, required variables
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
fn words_that_the_frontend_rejects_are_rejected() {
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
fn unset_variables_are_reported() {
    let expanded = expand("$PWD ${A:-x} $B", '\\', &lookup).unwrap();
    assert_eq!(expanded.text, "/home x ");
    assert_eq!(expanded.unset, BTreeSet::from(["A".to_owned(), "B".to_owned()]));
}

#[test]
fn a_required_variable_fails_with_the_dockerfiles_message() {
    let error = expand("${TOKEN:?pass --build-arg TOKEN}", '\\', &lookup).unwrap_err();
    assert_eq!(error.to_string(), "TOKEN: pass --build-arg TOKEN");
}

#[test]
fn substitutions_that_only_a_shell_supports_are_kept_as_written() {
    let words = words("cat >/x-${V:0:3} <<EOF", true, true).unwrap();
    assert_eq!(words, ["cat", ">/x-${V:0:3}", "<<EOF"]);
}

#[test]
fn overlong_words_and_deep_nesting_are_rejected() {
    let nested = |levels: usize| format!("{}x{}", "${a:-".repeat(levels), "}".repeat(levels));
    assert_eq!(expanded(&nested(MAX_DEPTH)).as_deref(), Some("x"));
    assert_eq!(expand(&nested(MAX_DEPTH + 1), '\\', &lookup), Err(ExpandError::TooDeep));
    assert_eq!(expand(&nested(100_000), '\\', &lookup), Err(ExpandError::TooDeep));
    let long = |_: &str| Some("x".repeat(MAX_WORD_BYTES / 2));
    assert_eq!(expand("$a$a", '\\', &long).unwrap().text.len(), MAX_WORD_BYTES);
    for word in ["$a$a$a", "\"$a$a$a\"", "${a//x/yyy}", "${a/*x*y$a/}"] {
        assert_eq!(expand(word, '\\', &long), Err(ExpandError::TooLong), "{word}");
    }
}
