//! `sluice.step.toml`: what a step is called, what it may do, and how it is built.
//!
//! Owns the keys. Does not own what a name, a permission or a limit may be (`model`), nor how much a module may ask for
//! (`registry`). Invariants: a key that is not known is a mistake, and all mistakes are told together; an upload finds
//! none but a limit over its gateway's own.

use std::path::{Component, Path, PathBuf};

use toml::{Table, Value};

use super::Mistake;
use crate::model::{Limits, ModuleName, Permission, PermissionKind, PermissionSet, parse_version};
use crate::registry::{DESCRIPTION_CHARACTERS_MAX, PERMISSIONS_MAX};

/// The file's name, in the step's folder.
pub const MANIFEST: &str = "sluice.step.toml";

/// What the file says; a folder without one has the default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    /// The module's name.
    pub name: Option<ModuleName>,
    /// The module's version.
    pub version: Option<semver::Version>,
    /// For people.
    pub description: Option<String>,
    /// What the step wants to be allowed; an upload asks for it.
    pub permissions: Vec<Permission>,
    /// The module's own limits.
    pub limits: Limits,
    /// How it is built.
    pub build: Option<Build>,
}

/// What makes a step's module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Build {
    /// The compiler of the folder's language.
    Language {
        /// More of them, in every build.
        arguments: Vec<String>,
    },
    /// A program of the author's own.
    Own(Command),
}

/// A build command of the author's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments, run in the step's folder.
    pub words: Vec<String>,
    /// What it makes, below the folder: a component, or a core module.
    pub output: PathBuf,
}

impl Default for Build {
    fn default() -> Self {
        Self::Language { arguments: Vec::new() }
    }
}

/// A component's name and version are short; what is longer is another file.
const BYTES_MAX: u64 = 256 * 1024;

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is there and can't be read.
    #[error("{MANIFEST} can't be read")]
    Read(#[source] std::io::Error),
    /// What is wrong in it: at least one mistake.
    #[error("{MANIFEST} has {}", if .0.len() == 1 { "a mistake".to_owned() } else { format!("{} mistakes", .0.len()) })]
    Mistakes(Vec<Mistake>),
}

impl Manifest {
    /// Reads that of a folder; one that isn't there is the default.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(MANIFEST);
        let length = match std::fs::metadata(&path) {
            Ok(file) => file.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::Read(error)),
        };
        if length > BYTES_MAX {
            return Err(mistake(format!("it has more than {BYTES_MAX} bytes")));
        }
        Self::parse(&std::fs::read_to_string(&path).map_err(Error::Read)?)
    }

    /// The permissions as an upload has them; `None` where there are none.
    #[must_use]
    pub fn permissions_json(&self) -> Option<String> {
        (!self.permissions.is_empty()).then(|| serde_json::json!(self.permissions).to_string())
    }

    /// The limits as an upload has them; `None` where there are none.
    #[must_use]
    pub fn limits_json(&self) -> Option<String> {
        (self.limits != Limits::default()).then(|| serde_json::json!(self.limits).to_string())
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| mistake(error.to_string()))?;
        let mut reader = Reader::default();
        let manifest = reader.manifest(table);
        if reader.mistakes.is_empty() { Ok(manifest) } else { Err(Error::Mistakes(reader.mistakes)) }
    }
}

fn mistake(message: String) -> Error {
    Error::Mistakes(vec![Mistake { path: String::new(), message }])
}

/// The mistakes so far. Each key is removed as it is read, so that what is left is not known.
#[derive(Default)]
struct Reader {
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn manifest(&mut self, mut table: Table) -> Manifest {
        let manifest = Manifest {
            name: self
                .parsed(&mut table, "", "name", |text| text.parse::<ModuleName>().map_err(|error| error.to_string())),
            version: self.parsed(&mut table, "", "version", parse_version),
            description: self.parsed(&mut table, "", "description", description),
            permissions: self.permissions(table.remove("permissions")),
            limits: self.limits(table.remove("limits")),
            build: self.build(table.remove("build")),
        };
        self.unknown(&table, "", "name, version, description, permissions, limits, build");
        manifest
    }

    fn permissions(&mut self, value: Option<Value>) -> Vec<Permission> {
        let list = match value {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.wrong_type("permissions", "a list of tables, [[permissions]]", &other);
                return Vec::new();
            }
        };
        if list.len() > PERMISSIONS_MAX {
            self.add("permissions", format!("there are {}, and a module has at most {PERMISSIONS_MAX}", list.len()));
            return Vec::new();
        }
        let mistakes_before = self.mistakes.len();
        let permissions: Vec<_> =
            list.into_iter().enumerate().filter_map(|(index, value)| self.permission(index, value)).collect();
        // Each one can be compiled; all of them together may be too much.
        if let Err(error) = PermissionSet::new(&permissions)
            && self.mistakes.len() == mistakes_before
        {
            self.add("permissions", error.to_string());
        }
        permissions
    }

    fn permission(&mut self, index: usize, value: Value) -> Option<Permission> {
        let path = format!("permissions[{index}]");
        let mut table = self.table(&path, value)?;
        let kind = self.parsed(&mut table, &path, "permission", |text| {
            let known = PermissionKind::ALL.map(PermissionKind::as_str).join(", ");
            PermissionKind::parse(text).ok_or_else(|| format!("there is no permission {text}; there are {known}"))
        });
        let resource = self.parsed(&mut table, &path, "resource", |text| Ok::<_, String>(text.to_owned()));
        self.unknown(&table, &path, "permission, resource");
        for (key, is_missing) in [("permission", kind.is_none()), ("resource", resource.is_none())] {
            let path = join(&path, key);
            if is_missing && !self.mistakes.iter().any(|mistake| mistake.path == path) {
                self.add(path, "it is missing");
            }
        }
        let resource = resource?;
        // A kind that is wrong keeps nobody from being told what else is.
        let likely = if resource.contains("://") { PermissionKind::HttpRead } else { PermissionKind::DatabaseRead };
        let permission = Permission { permission: kind.unwrap_or(likely), resource };
        if let Err(error) = permission.check() {
            self.add(join(&path, "resource"), error.to_string());
        }
        kind.map(|_| permission)
    }

    fn limits(&mut self, value: Option<Value>) -> Limits {
        let Some(mut table) = value.and_then(|value| self.table("limits", value)) else { return Limits::default() };
        let limits = Limits {
            fuel: self.number(&mut table, "limits", "fuel"),
            memory_bytes: self.number(&mut table, "limits", "memory_bytes"),
            timeout_ms: self.number(&mut table, "limits", "timeout_ms"),
        };
        self.unknown(&table, "limits", "fuel, memory_bytes, timeout_ms");
        limits
    }

    fn build(&mut self, value: Option<Value>) -> Option<Build> {
        let mut table = self.table("build", value?)?;
        if let Some(arguments) = table.remove("arguments") {
            // What they are is told, and not that they are unknown, too.
            let (command, output) = (table.remove("command"), table.remove("output"));
            if command.or(output).is_some() {
                self.add("build.arguments", "they are for the language's own compiler: write them into the command");
            }
            let arguments = words(arguments).unwrap_or_else(|| {
                self.add("build.arguments", "expected a list of strings: [\"--features\", \"prices\"]");
                Vec::new()
            });
            self.unknown(&table, "build", "arguments, or command and output");
            return Some(Build::Language { arguments });
        }
        let words = table.remove("command").and_then(words).unwrap_or_default();
        if words.is_empty() {
            self.add("build.command", "expected the program and its arguments: [\"make\", \"step\"]");
        }
        let output = self.parsed(&mut table, "build", "output", |text| {
            let path = PathBuf::from(text);
            let is_below = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if is_below { Ok(path) } else { Err("expected a path below the step's folder".to_owned()) }
        });
        if output.is_none() && !self.mistakes.iter().any(|mistake| mistake.path == "build.output") {
            self.add("build.output", "it is missing: the file that the command makes");
        }
        self.unknown(&table, "build", "command and output, or arguments");
        Some(Build::Own(Command { words, output: output? }))
    }

    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        table: &mut Table,
        above: &str,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = table.remove(key)?;
        let path = join(above, key);
        let Value::String(text) = &value else {
            self.wrong_type(&path, "a string", &value);
            return None;
        };
        parse(text).map_err(|error| self.add(path, error.to_string())).ok()
    }

    fn number(&mut self, table: &mut Table, above: &str, key: &str) -> Option<u64> {
        let value = table.remove(key)?;
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
        if number.is_none() {
            self.wrong_type(&join(above, key), "a whole number, at least 1", &value);
        }
        number
    }

    fn table(&mut self, path: &str, value: Value) -> Option<Table> {
        match value {
            Value::Table(table) => Some(table),
            other => {
                self.wrong_type(path, "a table", &other);
                None
            }
        }
    }

    fn unknown(&mut self, left: &Table, above: &str, known: &str) {
        for key in left.keys() {
            self.add(join(above, key), format!("this key is not known; there are {known}"));
        }
    }

    fn wrong_type(&mut self, path: &str, wanted: &str, found: &Value) {
        self.add(path, format!("expected {wanted}, found {} {found}", found.type_str()));
    }

    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.mistakes.push(Mistake { path: path.into(), message: message.into() });
    }
}

fn description(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0..=DESCRIPTION_CHARACTERS_MAX => Ok(text.to_owned()),
        count => Err(format!("it has {count} characters, and may have {DESCRIPTION_CHARACTERS_MAX}")),
    }
}

fn words(value: Value) -> Option<Vec<String>> {
    let Value::Array(list) = value else { return None };
    list.into_iter().map(|word| word.as_str().map(str::to_owned)).collect()
}

fn join(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        match Manifest::parse(text) {
            Err(Error::Mistakes(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_key_is_read() {
        let manifest = Manifest::parse(
            r#"
            name = "order-check"
            version = "1.2.3"
            description = "Checks an order"
            [[permissions]]
            permission = "http:read"
            resource = "https://api.example.com/*"
            [limits]
            timeout_ms = 1000
            [build]
            command = ["make", "step"]
            output = "out/step.wasm"
            "#,
        )
        .unwrap();
        assert_eq!(manifest.name.unwrap().as_str(), "order-check");
        assert_eq!(manifest.version.unwrap().to_string(), "1.2.3");
        assert_eq!(manifest.permissions[0].resource, "https://api.example.com/*");
        assert_eq!(manifest.limits, Limits { timeout_ms: Some(1000), ..Limits::default() });
        let command = Command { words: vec!["make".into(), "step".into()], output: "out/step.wasm".into() };
        assert_eq!(manifest.build, Some(Build::Own(command)));
        let manifest = Manifest::parse("[build]\narguments = [\"--features\", \"x\"]").unwrap();
        assert_eq!(manifest.build, Some(Build::Language { arguments: vec!["--features".into(), "x".into()] }));
        assert_eq!(Manifest::parse("").unwrap(), Manifest::default());
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_place() {
        let told = mistakes(
            r#"
            name = "Order Check"
            version = 1
            nmae = "x"
            [[permissions]]
            permission = "http:delete"
            resource = "https://api.example.com/["
            [[permissions]]
            permission = "http:read"
            reource = "*"
            [limits]
            fuel = 0
            [build]
            command = "make"
            output = "../step.wasm"
            "#,
        );
        for place in [
            "name: ",
            "version: expected a string, found integer 1",
            "nmae: this key is not known",
            "permissions[0].permission: there is no permission http:delete",
            "permissions[0].resource: ",
            "permissions[1].reource: this key is not known",
            "permissions[1].resource: it is missing",
            "limits.fuel: expected a whole number, at least 1",
            "build.command: expected",
            "build.output: expected a path below",
        ] {
            assert!(told.iter().any(|one| one.starts_with(place)), "{place}: {told:#?}");
        }
        assert_eq!(told.len(), 10, "{told:#?}");
    }

    #[test]
    fn arguments_are_for_the_compiler_of_the_language() {
        assert_eq!(mistakes("[build]\narguments = \"-x\"").len(), 1);
        let both = mistakes("[build]\narguments = [\"-x\"]\ncommand = [\"make\"]\noutput = \"a\"");
        assert!(both[0].starts_with("build.arguments: they are for the language's own compiler"), "{both:?}");
        assert_eq!(both.len(), 1, "{both:?}");
    }

    #[test]
    fn what_an_upload_would_refuse_for_its_size_is_a_mistake_already() {
        let described = |count: usize| format!("description = \"{}\"", "é".repeat(count));
        assert!(Manifest::parse(&described(DESCRIPTION_CHARACTERS_MAX)).is_ok());
        let told = mistakes(&described(DESCRIPTION_CHARACTERS_MAX + 1));
        assert_eq!(told, ["description: it has 4097 characters, and may have 4096"]);
        let permission = "[[permissions]]\npermission = \"database:read\"\nresource = \"shop\"\n";
        assert!(Manifest::parse(&permission.repeat(PERMISSIONS_MAX)).is_ok());
        let told = mistakes(&permission.repeat(PERMISSIONS_MAX + 1));
        assert_eq!(told, ["permissions: there are 201, and a module has at most 200"]);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let told = mistakes("name = \"a\"\nversion = ");
        assert!(told[0].contains("line 2"), "{told:?}");
    }
}
