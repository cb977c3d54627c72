//! Compiles the courier (`src/courier/main.rs`) as a static program, which is embedded into larder.
//!
//! It is compiled for the architecture of larder and for those in `LARDER_COURIERS` (`amd64 arm64` for a release). The
//! musl target is used if it is installed, because its programs are the smallest. Otherwise the glibc target is used,
//! but only for the architecture of larder.

#![allow(clippy::print_stdout, reason = "build scripts print instructions for cargo")]

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The supported architectures, each with its name in BuildKit and in Rust.
const ARCHITECTURES: [(&str, &str); 2] = [("amd64", "x86_64"), ("arm64", "aarch64")];
const SOURCES: [&str; 7] = [
    "src/courier/main.rs",
    "src/courier/mount.rs",
    "src/courier/mount/file.rs",
    "src/courier/mount/list.rs",
    "src/courier/mount/make.rs",
    "src/courier/protocol.rs",
    "src/courier/protocol/frames.rs",
];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LARDER_COURIERS");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let own = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let requested = env::var("LARDER_COURIERS").unwrap_or_default();
    let mut programs = String::new();
    for (name, rust) in ARCHITECTURES {
        let is_needed = rust == own || requested.split_whitespace().any(|requested| requested == name);
        if !is_needed {
            continue;
        }
        let program = out.join(format!("courier-{name}"));
        match compile(rust, rust == own, &program) {
            Ok(()) => {
                let path = program.display().to_string();
                writeln!(programs, "    ({name:?}, include_bytes!({path:?})),")
                    .expect("writing to a string succeeds");
            }
            Err(reason) => {
                println!("cargo::error=cannot build a static courier for {name}: {reason}");
                println!("cargo::error=install the target: `rustup target add {rust}-unknown-linux-musl`");
                exit(1);
            }
        }
    }
    let table = format!("const PROGRAMS: &[(&str, &[u8])] = &[\n{programs}];\n");
    std::fs::write(out.join("courier_programs.rs"), table).expect("OUT_DIR is writable");
}

fn compile(architecture: &str, is_own: bool, program: &Path) -> Result<(), String> {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let (musl, gnu) =
        (format!("{architecture}-unknown-linux-musl"), format!("{architecture}-unknown-linux-gnu"));
    let is_installed = |target: &str| {
        let output = Command::new(&rustc).args(["--print", "target-libdir", "--target", target]).output();
        output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
    };
    let mut command = Command::new(&rustc);
    command.args(["--edition", "2024", "--crate-name", "courier", SOURCES[0], "-o"]).arg(program);
    let options = [
        "target-feature=+crt-static",
        "relocation-model=static",
        "panic=abort",
        "opt-level=z",
        "lto=fat",
        "codegen-units=1",
        "strip=symbols",
    ];
    command.args(options.iter().flat_map(|option| ["-C", option]));
    if is_installed(&musl) {
        command.args(["--target", &musl]);
        if !is_own {
            command.args(["-C", "linker=rust-lld"]);
        }
    } else if is_own && is_installed(&gnu) {
        command.args(["--target", &gnu]);
    } else {
        return Err(format!("the target {musl} is not installed"));
    }
    let output = command.output().map_err(|error| format!("cannot run rustc: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(message.lines().find(|line| line.starts_with("error")).unwrap_or("rustc failed").to_owned())
}
