//! Tests of the messages for mistakes and their positions.

use super::*;

/// Dockerfiles that the parser of the engine rejects.
const UNREADABLE: &[&str] = &[
    // The whole file.
    "",
    "# only a comment\n",
    "ARG A=1\n",
    "RUN x\nFROM a",
    "# escape=x\nFROM a",
    "# escape=`\n# Escape=`\nFROM a",
    // Instructions.
    "FROM a\n  RNU x",
    "FROM a\nFORM b",
    "FROM a\nINSTALL python",
    "FROM a\n\\\n",
    "FROM",
    "FROM a b",
    "FROM a AS",
    "FROM a AS b c",
    "FROM a AS 1st",
    "FROM a AS b/c",
    "FROM a\nCOPY x",
    "FROM a\nCOPY [\"x\"]",
    "FROM a\nENV A",
    "FROM a\nENV A=b C",
    "FROM a\nENV =b",
    "FROM a\nLABEL",
    "FROM a\nARG",
    "FROM a\nARG =x",
    "FROM a\nWORKDIR",
    "FROM a\nUSER",
    "FROM a\nSTOPSIGNAL",
    "FROM a\nEXPOSE",
    "FROM a\nSHELL sh -c",
    "FROM a\nSHELL []",
    "FROM a\nVOLUME []",
    "FROM a\nVOLUME [\" \"]",
    "FROM a\nRUN [1]",
    "FROM a\nCMD [\"a\", null]",
    "FROM a\nHEALTHCHECK curl -f http://localhost/",
    "FROM a\nHEALTHCHECK --interval=5 CMD x",
    "FROM a\nHEALTHCHECK --retries=3",
    "FROM a\nONBUILD",
    "FROM a\nONBUILD ONBUILD RUN x",
    "FROM a\nONBUILD  FROM b",
    "FROM a\nONBUILD ENV A",
    // Flags.
    "FROM --platfrom=linux/amd64 a",
    "FROM --platform a",
    "FROM a\nCOPY --chwon=app x y",
    "FROM a\nCOPY --from=b --link --from=c x y",
    "FROM a\nCOPY --link \\\n     --link x y",
    "FROM a\nCOPY --link=maybe x y",
    "FROM a\nADD --keep-git-dir= x y",
    "FROM a\nCMD --help",
    "FROM a\nRUN --=x y",
    "FROM a\nRUN --mount x",
    "FROM a\nRUN --network=vpn x",
    "FROM a\nRUN --security=none x",
    // Mounts.
    "FROM a\nRUN --mount=type=cahce,target=/x y",
    "FROM a\nRUN --mount=type=cache,tagret=/x y",
    "FROM a\nRUN --mount=type=cache,target=/x \\\n    --mount=type=cache,target=/y,sharing=all \\\n    y",
    "FROM a\nRUN --mount=type=bind,from=$BASE,target=/x y",
    "FROM a\nRUN --mount=type=tmpfs,target=/x,size=big y",
    "FROM a\nRUN --mount=type=secret,required y",
    "FROM a\nRUN --mount=type=cache,\\\ntarget=/x,mode=9 y",
    "FROM a\nRUN --mount='type=cache,\"target=/x' y",
    // Here-documents.
    "FROM a\nRUN <<EOF\nx",
    "FROM a\nRUN cat <<A <<B\nA\nx\n",
    "FROM a\nCOPY <<EOF /x\n  EOF\n",
    "FROM a\nCOPY x <<EOF\nEOF",
    "FROM a\nRUN cat <<${x \nEOF",
    // Columns that differ from byte offsets.
    "FROM a\n\t\tCOPY\t--lnk x y",
    "FROM a\nCOPY été.txt <<EOF\nEOF",
    "\u{feff}FORM a",
    "FROM a\r\nCOPY --link \\\r\n  --form=b x y\r\n",
];

/// Dockerfiles that can be parsed, but not resolved.
const UNRESOLVABLE: &[&str] = &[
    "FROM a:${TAG",
    "ARG A=${}\nFROM a",
    "ARG A\nFROM $A",
    "FROM --platform=$NONE a",
    "FROM --platform=linux/arm/v7/extra a",
    "FROM --platform=amd46 a",
    "FROM a AS b\nCOPY --from=2 /x /y\nFROM c",
    "FROM a\nRUN x\nCOPY --from=-1 \\\n  x y",
    "ARG S=b\nFROM a\nCOPY --chown=1 --from=$S /x /y",
    "FROM a\nCOPY \"a b\" /x",
    "FROM a\nENV A=1 \\\n    B='open",
    "FROM a\nARG A\nARG B=\"x${A:?give --build-arg A}\"",
    "FROM a\nWORKDIR /x/${A^^}",
    "FROM a\nARG A=1\nCOPY ${A/x} /",
    "FROM a\nRUN --mount=type=cache,id=${A:=x},target=/c y",
    "FROM a\nADD ${A#\\x} /",
];

#[test]
fn mistakes_are_shown_where_they_are() {
    let mut shown = String::new();
    let read = |text: &str| match Dockerfile::parse(text) {
        Err(error) => error.caret("Dockerfile", text),
        Ok(_) => panic!("the Dockerfile was parsed:\n{text}"),
    };
    let resolved = |text: &str| match Dockerfile::parse(text).map(|file| file.resolve(&Options::default())) {
        Ok(Err(error)) => error.locate(text).unwrap().caret("Dockerfile", text),
        other => panic!("{other:?}:\n{text}"),
    };
    for error in
        UNREADABLE.iter().map(|text| read(text)).chain(UNRESOLVABLE.iter().map(|text| resolved(text)))
    {
        shown.push_str(&error);
        shown.push_str("\n\n");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn an_overlong_line_is_shown_only_around_the_mistake() {
    let longest = format!("FROM a\nRUN {}", "x".repeat(65_531));
    assert!(Dockerfile::parse(&longest).is_ok());
    let longer = longest.clone() + "x";
    let shown = Dockerfile::parse(&longer).unwrap_err().caret("Dockerfile", &longer);
    assert!(shown.starts_with("Dockerfile:2:1: the line is longer than 65535 bytes\n") && shown.len() < 500);
    let far = format!("FROM a\nRUN --mount=type=cache,id={},mode=x y", "x".repeat(5000));
    let shown = Dockerfile::parse(&far).unwrap_err().caret("Dockerfile", &far);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(&lines[2][lines[3].find('^').unwrap()..], "mode=x y");
    assert!(shown.len() < 500);
}
