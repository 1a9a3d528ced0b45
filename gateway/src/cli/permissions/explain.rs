//! `sluice permissions explain`: whether a call is allowed, and by what.
//!
//! Owns the reading of what is asked. Does not own the rules: the same code that checks a step's calls (`model`,
//! `egress`) checks this one, here, on the permissions that the gateway tells. Invariant: nothing is called.

use std::net::Ipv6Addr;

use serde_json::json;

use super::{Known, Version, command_to_add, kinds, tell_if_closed, to_json};
use crate::cli::client::{Client, Remote};
use crate::cli::failure::{Denied, Usage};
use crate::cli::output::Out;
use crate::egress::{self, Target};
use crate::model::{ModuleRef, Permission, PermissionKind};

/// Which call.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// An id, `name`, `name@1.2.3` or `name@^1.2`: one version, the newest that matches.
    module: ModuleRef,
    /// The method of a request, or a permission: `database:read`, `database:write`, `secret:use`.
    method: String,
    /// Its URL; the name of a connection; a secret and its host, as NAME@HOST.
    #[arg(value_name = "URL|NAME|NAME@HOST")]
    resource: String,
    #[command(flatten)]
    remote: Remote,
}

/// Tells it.
pub(super) async fn run(args: Args, out: Out) -> anyhow::Result<()> {
    let asked = Asked::read(&args.method, &args.resource)?;
    let client = Client::new(&args.remote, out)?;
    let version = Version::find(&client, &args.module).await?;
    let Known { list, numbers, set } = version.known(out)?;
    let rule = set.rule(asked.permission, &asked.resource);
    let rule = rule.and_then(|place| Some((*numbers.get(place)?, list.get(place)?)));
    let told = Told { version: &version, asked: &asked, rule };
    if out.is_json() {
        out.json(told.json().to_string().as_bytes())?;
    } else {
        told.print(out)?;
    }
    tell_if_closed(out, &Permission::exactly(asked.permission, &asked.resource));
    if !matches!(kind(&args.method), Ok(PermissionKind::HttpRead))
        && matches!(kind(&args.method.to_ascii_uppercase()), Ok(PermissionKind::HttpRead))
    {
        out.note(&format!("{} is another method than {}", args.method, args.method.to_ascii_uppercase()));
    }
    if rule.is_some() { Ok(()) } else { Err(Denied.into()) }
}

/// What is asked.
struct Asked {
    permission: PermissionKind,
    /// In normal form; no glob.
    resource: String,
}

impl Asked {
    fn read(method: &str, resource: &str) -> Result<Self, Usage> {
        let kind = kind(method)?;
        let resource = match kind {
            PermissionKind::HttpRead | PermissionKind::HttpWrite => {
                let refused =
                    |error| Usage(format!("the gateway asks for no such URL, whatever the permissions say: {error}"));
                Target::parse(resource).map_err(refused)?.resource().to_owned()
            }
            PermissionKind::DatabaseRead | PermissionKind::DatabaseWrite if resource.is_empty() => {
                return Err(Usage("a connection has a name".to_owned()));
            }
            PermissionKind::DatabaseRead | PermissionKind::DatabaseWrite => resource.to_owned(),
            PermissionKind::SecretUse => secret(resource)?,
        };
        Ok(Self { permission: kind, resource })
    }
}

fn kind(method: &str) -> Result<PermissionKind, Usage> {
    if let Some(kind) = PermissionKind::parse(method) {
        return Ok(kind);
    }
    match egress::method(method) {
        // As a step writes it: `get` is another method.
        Ok(method) => Ok(egress::permission_kind(&method)),
        Err(error @ egress::headers::Error::MethodClosed(_)) => {
            Err(Usage(format!("{error}, whatever the permissions say")))
        }
        Err(_) => Err(Usage(format!("{method} is neither a method nor a permission; {}", kinds()))),
    }
}

fn secret(resource: &str) -> Result<String, Usage> {
    let (name, host) = resource.split_once('@').unwrap_or_default();
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
    let is_port = host.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    if name.is_empty() || host.is_empty() || is_port || host.contains(['@', '/', '?', '#']) {
        return Err(Usage(
            "a secret is NAME@HOST, such as stripe-key@api.stripe.com, without scheme and port".to_owned(),
        ));
    }
    let target = Target::parse(&format!("https://{host}/"));
    let target = target.map_err(|error| Usage(format!("no URL has the host {host}: {error}")))?;
    Ok(format!("{name}@{}", target.host()))
}

/// The answer.
struct Told<'a> {
    version: &'a Version,
    asked: &'a Asked,
    /// The first that covers it, with its number in the list, from 1.
    rule: Option<(usize, &'a Permission)>,
}

impl Told<'_> {
    /// The permission that allows this and nothing else; a URL may be longer than a permission.
    fn wanted(&self) -> Option<Permission> {
        let wanted = Permission::exactly(self.asked.permission, &self.asked.resource);
        wanted.check().is_ok().then_some(wanted)
    }

    fn json(&self) -> serde_json::Value {
        let wanted = if self.rule.is_none() { self.wanted() } else { None };
        json!({
            "allowed": self.rule.is_some(),
            "permission": self.asked.permission,
            "resource": self.asked.resource,
            "rule": self.rule.map(|(number, rule)| json!({
                "number": number, "permission": rule.permission, "resource": rule.resource,
            })),
            "wanted": wanted,
            "command": wanted.as_ref().map(|wanted| command_to_add(&self.version.reference, wanted)),
        })
    }

    fn print(&self, out: Out) -> anyhow::Result<()> {
        let Asked { permission, resource } = self.asked;
        if let Some((number, rule)) = self.rule {
            let all = self.version.permissions.len();
            let rule = format!("{} {}", rule.permission.as_str(), rule.resource);
            return Ok(out.line(&format!("allowed by permission {number} of {all}: {rule}"))?);
        }
        out.line(&format!(
            "denied: no permission of {} covers {} {resource}",
            self.version.reference,
            permission.as_str()
        ))?;
        match self.wanted() {
            Some(wanted) => {
                out.line(&format!("this one would: {}", to_json(&wanted)))?;
                out.line(&format!("to add it: {}", command_to_add(&self.version.reference, &wanted)))?;
            }
            None => out.note("it is too long for a permission of its own; a pattern with `*` may cover it"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, resource: &str) -> Result<(&'static str, String), String> {
        let asked = Asked::read(method, resource).map_err(|error| error.to_string())?;
        Ok((asked.permission.as_str(), asked.resource))
    }

    #[test]
    fn a_call_is_asked_for_as_a_step_makes_it() {
        for (method, resource, kind, normal) in [
            ("GET", "https://API.example.com:443/a?q=1", "http:read", "https://api.example.com/a"),
            ("OPTIONS", "https://a.example", "http:read", "https://a.example/"),
            ("get", "https://a.example", "http:write", "https://a.example/"),
            ("POST", "http://a.example/", "http:write", "http://a.example/"),
            ("PURGE", "http://a.example/", "http:write", "http://a.example/"),
            ("http:write", "http://a.example/", "http:write", "http://a.example/"),
            ("database:write", "orders", "database:write", "orders"),
            ("secret:use", "Key@API.example.com", "secret:use", "Key@api.example.com"),
            ("secret:use", "key@bücher.example.", "secret:use", "key@xn--bcher-kva.example"),
            ("secret:use", "key@0x7f.1", "secret:use", "key@127.0.0.1"),
            ("secret:use", "key@[::ffff:127.0.0.1]", "secret:use", "key@[::ffff:7f00:1]"),
            ("secret:use", "key@0::1", "secret:use", "key@[::1]"),
        ] {
            assert_eq!(asked(method, resource), Ok((kind, normal.to_owned())), "{method} {resource}");
        }
    }

    #[test]
    fn what_can_not_be_asked_is_told_why() {
        for (method, resource, why) in [
            ("GET", "https://a.example/../b", "`..`"),
            ("GET", "https://user@a.example/", "a user or a password"),
            ("GET", "orders", "malformed"),
            ("database:drop", "orders", "database:read"),
            ("G T", "https://a.example/", "neither a method"),
            ("database:read", "", "a name"),
            ("secret:use", "key", "NAME@HOST"),
            ("secret:use", "key@https://a.example", "without scheme"),
            ("secret:use", "key@a.example:443", "without scheme and port"),
            ("secret:use", "key@[::1]:443", "without scheme and port"),
            ("secret:use", "key@a b", "no URL"),
            ("CONNECT", "https://a.example/", "CONNECT is not sent"),
            ("trace", "https://a.example/", "trace is not sent"),
        ] {
            let said = asked(method, resource).unwrap_err();
            assert!(said.contains(why), "{method} {resource}: {said}");
        }
    }
}
