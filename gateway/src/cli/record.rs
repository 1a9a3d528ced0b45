//! `sluice test --record`: a case made of a real execution on a gateway.
//!
//! Owns what of an answer becomes an expectation. Invariants: a case that is there is never written over; the answers
//! of servers and databases are left for the author to fill in, since a gateway keeps none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{self, Client, Remote};
use super::failure::{Advised, Usage};
use super::output::Out;
use super::whole_file::WholeFile;
use super::{input, modules};
use crate::author::cases::{Case, Expect, Json, Status};
use crate::model::{JsonText, Limits};

/// What to call, and what the case is called.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Record")]
pub(super) struct Record {
    /// Call the module on the gateway and write what came as the case tests/NAME.json.
    #[arg(long = "record", id = "record", value_name = "NAME", requires = "input")]
    case: Option<String>,
    /// The module; the step's own name unless given.
    #[arg(long, value_name = "MODULE", requires = "record")]
    module: Option<String>,
    /// The step function.
    #[arg(long, default_value = "run", requires = "record")]
    function: String,
    /// The input: JSON, @FILE, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-", requires = "record")]
    input: Option<String>,
    /// The job's data: JSON, @FILE, or -.
    #[arg(long, value_name = "JSON|@FILE|-", requires = "record")]
    data: Option<String>,
    /// A variable of the step's environment; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::variable, requires = "record")]
    env: Vec<(String, String)>,
    #[command(flatten)]
    remote: Remote,
}

impl Record {
    /// Whether a case is to be written.
    pub(super) fn is_wanted(&self) -> bool {
        self.case.is_some()
    }
}

/// To the digit as the case will have it.
#[derive(Serialize)]
struct Request<'a> {
    input: &'a JsonText,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a JsonText>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: &'a BTreeMap<String, String>,
}

/// Calls, and writes the case.
pub(super) async fn run(folder: &Path, name: Option<&str>, record: Record, out: Out) -> anyhow::Result<()> {
    let case_name = record.case.unwrap_or_default();
    let path = place(folder, &case_name)?;
    let input = input::json("--input", record.input.unwrap_or_default()).await?;
    let data = match record.data {
        Some(data) => Some(input::json("--data", data).await?),
        None => None,
    };
    let module = record.module.as_deref().or(name);
    let module = module.ok_or_else(|| Advised::new("the step has no name", "name the module with --module"))?;
    let client = Client::new(&record.remote, out)?;
    let env: BTreeMap<_, _> = record.env.into_iter().collect();
    let body = Request { input: &input, data: data.as_ref(), env: &env };
    let function = [("function", record.function.clone())];
    let path_of_module = modules::path(module, &["invoke"]);
    let answer = client.post_json(&path_of_module, &function, serde_json::to_vec(&body)?).await;
    let expect = expectation(answer)?;
    let case = Case {
        function: record.function,
        input: serde_json::value::RawValue::from_string(input.as_str().to_owned())?,
        data: data.map(|data| Json::parse(data.as_str())).transpose()?,
        env,
        limits: Limits::default(),
        http: Vec::new(),
        db: Vec::new(),
        expect,
    };
    let text = serde_json::to_string_pretty(&case)? + "\n";
    let failed = || format!("{} can't be written", path.display());
    std::fs::create_dir_all(folder.join("tests")).with_context(failed)?;
    let mut file = WholeFile::begin(&path).with_context(failed)?;
    file.write(text.as_bytes()).and_then(|()| file.finish_new(&path)).with_context(failed)?;
    if out.is_json() {
        return Ok(out.json(json!({"path": path}).to_string().as_bytes())?);
    }
    out.line(&format!("wrote {}", path.display()))?;
    out.note("where the step calls http or db, add their answers: \"http\": [{\"request\": …, \"response\": …}]");
    Ok(())
}

fn place(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let is_name =
        !name.is_empty() && name.chars().all(|character| character.is_alphanumeric() || "-_.".contains(character));
    if !is_name || name.starts_with('.') {
        let wanted = "it has letters, digits, `-`, `_` and `.`";
        return Err(Usage(format!("--record: {name} can't be a case's name; {wanted}")).into());
    }
    let path = folder.join("tests").join(format!("{name}.json"));
    if path.exists() {
        return Err(Advised::new(format!("{} is there", path.display()), "choose another name, or remove it").into());
    }
    Ok(path)
}

/// What a case takes of the answer of an execution that completed, to the digit.
#[derive(Deserialize)]
struct Completed {
    #[serde(default, deserialize_with = "Json::given")]
    output: Option<Json>,
    #[serde(default, deserialize_with = "Json::given")]
    next: Option<Json>,
    #[serde(default, deserialize_with = "Json::given")]
    data: Option<Json>,
}

/// What a case takes of the problem that another one is answered with.
#[derive(Deserialize)]
struct Ended {
    errors: Option<Json>,
    failure: Option<Json>,
}

/// What came, as it is to come again.
fn expectation(answer: Result<client::Answer, client::Error>) -> anyhow::Result<Expect> {
    let mut expect = Expect {
        status: Status::Completed,
        output: None,
        next: None,
        data: None,
        errors: None,
        failure: None,
        logs: None,
    };
    match answer {
        Ok(answer) => {
            let told: Completed = answer.read()?;
            (expect.output, expect.next, expect.data) = (told.output, told.next, told.data);
        }
        Err(client::Error::Refused(refusal)) => {
            let told: Ended = serde_json::from_slice(&refusal.body)?;
            match refusal.problem.code.as_str() {
                "invalid-data" => {
                    expect.status = Status::Invalid;
                    expect.errors = told.errors;
                }
                _ if refusal.problem.origin == "guest" => {
                    expect.status = Status::Failed;
                    // The step's own words where it has some, else what ended it.
                    expect.failure = told.failure.or_else(|| Some(Json::of(&json!({"code": refusal.problem.code}))));
                }
                // The gateway's own refusal says nothing of the step.
                _ => return Err(client::Error::Refused(refusal).into()),
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(expect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_is_there_is_never_written_over_and_one_without_a_name_is_wrong_usage() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        assert!(place(folder.path(), "a-good-order").is_ok());
        std::fs::write(folder.path().join("tests/a.json"), "{}").unwrap();
        assert!(place(folder.path(), "a").unwrap_err().is::<Advised>());
        for name in ["", "../a", ".hidden", "a/b"] {
            assert!(place(folder.path(), name).unwrap_err().is::<Usage>(), "{name}");
        }
    }
}
