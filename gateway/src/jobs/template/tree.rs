//! JSON whose texts are templates.

use serde_json::{Map, Value};

use super::output::Room;
use super::{Template, TemplateError};
use crate::error::pointer;

/// A value of a definition, compiled. Names of members are no templates.
#[derive(Debug)]
pub(super) enum Tree {
    /// Without templates.
    Plain(Value),
    Text(Template),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    pub(super) fn parse(path: &str, value: &Value) -> Result<Self, TemplateError> {
        Ok(match value {
            Value::String(text) => {
                let template = super::template(path, text)?;
                if template.is_plain() { Self::Plain(value.clone()) } else { Self::Text(template) }
            }
            Value::Array(items) => Self::List(Self::parse_items(path, items)?),
            Value::Object(members) => {
                let parse =
                    |(name, value): (&String, &Value)| Ok((name.clone(), Self::parse(&pointer(path, name), value)?));
                Self::Object(members.iter().map(parse).collect::<Result<_, TemplateError>>()?)
            }
            plain => Self::Plain(plain.clone()),
        })
    }

    pub(super) fn parse_items(path: &str, items: &[Value]) -> Result<Vec<Self>, TemplateError> {
        items.iter().enumerate().map(|(index, item)| Self::parse(&format!("{path}/{index}"), item)).collect()
    }

    pub(super) fn value(&self, names: &minijinja::Value, room: &mut Room) -> Result<Value, TemplateError> {
        self.with(&mut |template| template.value(names, room))
    }

    /// As [`Self::value`], for what is looked through for secrets afterwards.
    pub(super) fn sent_value(&self, names: &minijinja::Value, room: &mut Room) -> Result<Value, TemplateError> {
        self.with(&mut |template| template.sent_value(names, room))
    }

    fn with(
        &self,
        resolve: &mut impl FnMut(&Template) -> Result<Value, TemplateError>,
    ) -> Result<Value, TemplateError> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Text(template) => resolve(template)?,
            Self::List(items) => Value::Array(items.iter().map(|item| item.with(resolve)).collect::<Result<_, _>>()?),
            Self::Object(members) => {
                let mut object = Map::new();
                for (name, value) in members {
                    object.insert(name.clone(), value.with(resolve)?);
                }
                Value::Object(object)
            }
        })
    }
}
