//! Programs that don't come with Rust: found, installed where we may, else named with their package.
//!
//! Looks for the program first: apt is called only when something is missing, and only as root.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::{Result, bail};

use crate::steps::Step;

/// A program and the Debian package that has it.
#[derive(Clone, Copy)]
pub struct Program {
    name: &'static str,
    package: &'static str,
    why: &'static str,
}

/// Without it Rust can't link either, so it is missing only where another linker is configured.
pub const C_COMPILER: Program =
    Program { name: "cc", package: "build-essential", why: "compiles the C code of SQLite, ring and mimalloc" };

/// Runs the compiler of AssemblyScript.
pub const NODE: Program = Program {
    name: "node",
    package: "nodejs",
    why: "runs the compiler of AssemblyScript, whose template is built and tested",
};
/// Fetches it.
pub const NPM: Program = Program { name: "npm", package: "npm", why: "fetches the compiler of AssemblyScript" };

/// What authors without `sluice` sign with; a test compares the two.
pub const OPENSSL: Program =
    Program { name: "openssl", package: "openssl", why: "makes and checks signatures in a test" };

/// The load generator of the paired runs.
pub const WRK: Program = Program { name: "wrk", package: "wrk", why: "makes the load of the benchmarks" };

/// Its server is started by the tests themselves, each with data of its own; what Debian starts is not used.
pub const POSTGRESQL: Program = Program {
    name: "postgres",
    package: "postgresql",
    why: "is the store of several gateways, and tests need a real one",
};
/// As with PostgreSQL; the core package has the server's program and starts nothing.
pub const MARIADB: Program = Program {
    name: "mariadbd",
    package: "mariadb-server-core",
    why: "is a database that steps reach, and tests need a real one",
};
/// TinyGo calls it after every build; its own releases don't carry it either.
pub const WASM_OPT: Program =
    Program { name: "wasm-opt", package: "binaryen", why: "makes the components of TinyGo and AssemblyScript smaller" };

/// With [`GO_MIN`].
pub const GO: Program = Program { name: "go", package: "golang-go", why: "builds TinyGo, and tests its template" };
/// The oldest that gets a newer toolchain by itself where a module asks for one.
pub const GO_MIN: (u32, u32) = (1, 21);
/// The oldest that asc runs on.
pub const NODE_MIN: (u32, u32) = (20, 0);

/// `memcpy` and arithmetic of 64 and 128 bits for WebAssembly.
pub const WASM_BUILTINS: &str = "/usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a";

/// What TinyGo is made of where it is not installed. A file's full path is found like a program's.
pub const FOR_TINYGO: [Program; 6] = [
    GO,
    Program { name: "llvm-config-19", package: "llvm-19-dev", why: "is the code generator of TinyGo" },
    Program { name: "clang-19", package: "clang-19", why: "assembles a part of TinyGo's library" },
    Program { name: "wasm-ld-19", package: "lld-19", why: "links what TinyGo compiles" },
    Program {
        name: "/usr/lib/llvm-19/include/clang-c/Index.h",
        package: "libclang-19-dev",
        why: "is a part of TinyGo",
    },
    Program { name: WASM_BUILTINS, package: "libclang-rt-19-dev-wasm32", why: "is linked into what TinyGo compiles" },
];
/// Has `ensurepip` only with its package on Debian, and a folder of its own for packages from `PyPI` needs that.
const PYTHON: Program =
    Program { name: "python3", package: "python3-venv", why: "runs schemathesis, which tries the API" };

/// Makes sure that Python can make virtual environments.
pub fn ensure_python(step: &mut Step) -> Result<()> {
    let complete = || Command::new(PYTHON.name).args(["-c", "import ensurepip, venv"]).output();
    if complete().is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    install(step, &[PYTHON])
}

/// Makes sure that the programs are there.
pub fn ensure(step: &mut Step, programs: &[Program]) -> Result<()> {
    let missing: Vec<_> = programs.iter().copied().filter(|program| find(program.name).is_none()).collect();
    if missing.is_empty() {
        step.note("nothing to install");
        return Ok(());
    }
    install(step, &missing)
}

/// Makes sure that a program that is there is not an older one than this: a distribution's may be.
pub fn ensure_version(program: Program, argument: &str, wanted: (u32, u32), from: &str) -> Result<()> {
    let output = Command::new(program.name).arg(argument).output();
    let told = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    match version(&told) {
        Some(found) if found < wanted => {
            bail!("{} is {told}, and {}.{} or later is needed: {from}", program.name, wanted.0, wanted.1)
        }
        _ => Ok(()),
    }
}

/// Of `go version go1.26.0 linux/amd64`, `v20.19.2`.
fn version(told: &str) -> Option<(u32, u32)> {
    let numbers = told.split_whitespace().find_map(|word| {
        let numbers = word.trim_start_matches(char::is_alphabetic);
        numbers.starts_with(|first: char| first.is_ascii_digit()).then_some(numbers)
    })?;
    let mut parts = numbers.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn install(step: &mut Step, missing: &[Program]) -> Result<()> {
    for program in missing {
        println!("    {} is missing: it {} (Debian package {})", program.name, program.why, program.package);
    }
    let packages: Vec<_> = missing.iter().map(|program| program.package).collect();
    if !rustix::process::geteuid().is_root() || find("apt-get").is_none() {
        bail!("please install it: on Debian, apt-get install {}", packages.join(" "));
    }
    step.run(apt().arg("update"))?;
    step.run(apt().args(["install", "--yes", "--no-install-recommends"]).args(&packages))?;
    step.note(format!("installed {}", packages.join(", ")));
    Ok(())
}

/// The program's file on `PATH`, or where Debian keeps the server programs of MariaDB and PostgreSQL.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders =
        env::split_paths(&path).chain(["/usr/sbin".into()]).chain(versions.map(|version| version.path().join("bin")));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_path_and_only_there() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program").is_none());
    }

    #[test]
    fn versions_are_read_wherever_programs_say_them() {
        for (told, found) in [
            ("go version go1.26.0 linux/amd64", Some((1, 26))),
            ("v20.19.2", Some((20, 19))),
            ("go version devel", None),
            ("", None),
        ] {
            assert_eq!(version(told), found, "{told}");
        }
    }
}
