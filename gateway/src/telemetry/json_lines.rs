//! A log line as JSON.
//!
//! Owns its members: `timestamp`, `level`, the event's own fields, `target`. It is `tracing-subscriber`'s own form
//! but for errors, of which that one writes the outermost sentence only. Invariant: an error is written with all
//! that caused it.

use std::error::Error as StdError;
use std::fmt;

use serde::ser::{SerializeMap, Serializer as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// An error may have itself as a cause; none that is read has so many.
const CAUSES_MAX: usize = 32;

/// The format of an event; spans are not part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let line = line(event).map_err(|_| fmt::Error)?;
        writeln!(writer, "{}", String::from_utf8_lossy(&line))
    }
}

fn line(event: &Event<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let mut time = String::new();
    // Writing to a string doesn't fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let mut line = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", &time)?;
    map.serialize_entry("level", event.metadata().level().as_str())?;
    let mut fields = Fields { map, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    let mut map = fields.map;
    map.serialize_entry("target", event.metadata().target())?;
    map.end()?;
    Ok(line)
}

/// An error and its causes, each unless the one before has said it.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    for cause in causes.take(CAUSES_MAX).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

struct Fields<M: SerializeMap> {
    map: M,
    result: Result<(), M::Error>,
}

impl<M: SerializeMap> Fields<M> {
    fn add<T: serde::Serialize + ?Sized>(&mut self, field: &Field, value: &T) {
        if self.result.is_ok() {
            let name = field.name();
            self.result = self.map.serialize_entry(name.strip_prefix("r#").unwrap_or(name), value);
        }
    }
}

impl<M: SerializeMap> Visit for Fields<M> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
        self.add(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the store is away")]
    struct Away(#[source] Refused);

    #[derive(Debug, thiserror::Error)]
    #[error("no connection: {0}")]
    struct Refused(#[source] io::Error);

    fn away() -> Away {
        Away(Refused(io::Error::other("refused by \"it\"\n")))
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_is_written_with_its_causes_each_once() {
        assert_eq!(chain(&away()), "the store is away: no connection: refused by \"it\"\n");
        assert_eq!(chain(&io::Error::other("alone")), "alone");
    }

    #[test]
    fn a_line_is_one_object_with_the_fields_as_they_are() {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer().event_format(JsonLines).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let error = away();
            tracing::warn!(
                error = &error as &dyn StdError,
                count = 7,
                ratio = 0.5,
                ok = true,
                r#type = "a",
                "it \"waits\""
            );
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let timestamp = line["timestamp"].take();
        timestamp.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let expected = json!({
            "timestamp": null, "level": "WARN", "message": "it \"waits\"",
            "error": "the store is away: no connection: refused by \"it\"\n",
            "count": 7, "ratio": 0.5, "ok": true, "type": "a", "target": module_path!(),
        });
        assert_eq!(line, expected);
    }
}
