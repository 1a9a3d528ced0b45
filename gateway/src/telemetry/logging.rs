//! Set-up of `tracing`: log lines on standard error, spans to an OTLP receiver.
//!
//! Owns the subscriber and the exporter. Does not own what is traced (`otlp`).
//! Invariant: only spans with `otlp`'s target become OpenTelemetry spans, and
//! they never become part of a log line.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use base64::Engine;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use reqwest::Url;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::json_lines::JsonLines;
use super::otlp;
use crate::config::{self, LogFormat};

/// The variable that says which log lines are written, as `tracing-subscriber` has it.
const FILTER_VARIABLE: &str = "SLUICE_LOG";

/// Without it. Guests' lines are in the executions' records; here they would fill
/// an operator's log with what any caller may choose.
const FILTER_DEFAULT: &str = "info,sluice::guest=off";

/// One export, with its retries; also what a stop waits for at most. A receiver
/// that takes longer is one that does not answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `SLUICE_LOG` is not a filter.
    #[error("{FILTER_VARIABLE} is not a list of target=level")]
    Filter(#[source] tracing_subscriber::filter::FromEnvError),
    /// The client or the exporter of spans could not be made.
    #[error("the OTLP exporter could not be set up")]
    Exporter(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is a subscriber already.
    #[error("logging was set up before")]
    AlreadySet(#[source] tracing::dispatcher::SetGlobalDefaultError),
}

/// Keeps the exporter alive; flushes it when told.
#[derive(Debug, Default)]
#[must_use = "spans that were not sent are lost without a shutdown"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Sends what has not been sent yet, for at most 5 s, and stops the
    /// exporter. Spans that end later are not sent.
    ///
    /// Blocks: async code calls it by `tokio::task::spawn_blocking`.
    pub fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        if let Err(error) = provider.shutdown_with_timeout(EXPORT_TIMEOUT) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Sets the process's subscriber.
pub fn init(config: &config::Telemetry) -> Result<Guard, Error> {
    let (subscriber, guard) = build(config)?;
    tracing::dispatcher::set_global_default(subscriber).map_err(Error::AlreadySet)?;
    Ok(guard)
}

/// The subscriber of this configuration, not set: for tests, which set it for
/// a scope by `tracing::dispatcher::with_default`.
pub fn build(config: &config::Telemetry) -> Result<(Dispatch, Guard), Error> {
    let subscriber = tracing_subscriber::registry().with(lines(config.log_format)?);
    // Not an `Option` of a layer: an absent one has no filter, and so would
    // make every span of every library.
    let Some(endpoint) = config.otlp_endpoint.as_deref() else {
        return Ok((Dispatch::new(subscriber), Guard::default()));
    };
    let provider = exporter(endpoint)?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("sluice"))
        .with_level(false)
        .with_location(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(
            filter_fn(|metadata| metadata.is_span() && metadata.target() == otlp::TARGET)
                .with_max_level_hint(LevelFilter::INFO),
        );
    Ok((Dispatch::new(subscriber.with(spans)), Guard { provider: Some(provider) }))
}

fn line_filter() -> Result<EnvFilter, Error> {
    let unset = std::env::var_os(FILTER_VARIABLE).is_none_or(|value| value.is_empty());
    let builder = EnvFilter::builder();
    let filter = if unset {
        builder.parse(FILTER_DEFAULT).map_err(Into::into)
    } else {
        builder.with_env_var(FILTER_VARIABLE).try_from_env()
    };
    filter.map_err(Error::Filter)
}

fn lines<S>(format: LogFormat) -> Result<Box<dyn Layer<S> + Send + Sync>, Error>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let text = match format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let filter = line_filter()?
        // Without a hint here, `and` would give none, and every `trace!` of
        // every library would be looked at.
        .and(filter_fn(|metadata| metadata.target() != otlp::TARGET).with_max_level_hint(LevelFilter::TRACE));
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr);
    if text {
        // Colours are for eyes: not in a file, and not where NO_COLOR asks for none.
        let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(layer.with_ansi(colours).with_filter(filter).boxed())
    } else {
        Ok(layer.event_format(JsonLines).with_filter(filter).boxed())
    }
}

/// Sends batches from a thread of its own, which drops and counts spans while
/// its queue is full.
fn exporter(endpoint: &str) -> Result<SdkTracerProvider, Error> {
    let (url, headers) = traces_url(endpoint)?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client(&url)?)
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(url)
        .with_headers(headers)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| Error::Exporter(error.into()))?;
    let resource = Resource::builder()
        .with_service_name("sluice")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        // `otlp::Sampler` has decided before a span is made.
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource)
        .build())
}

/// A client of its own, so that an exporter neither follows redirects nor
/// needs the system's certificates for `http`.
fn client(url: &Url) -> Result<reqwest::blocking::Client, Error> {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder =
        reqwest::blocking::Client::builder().timeout(EXPORT_TIMEOUT).redirect(reqwest::redirect::Policy::none());
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    // The client has a runtime of its own, which can't be made within another one.
    let client = std::thread::spawn(|| builder.build()).join();
    let client = client.map_err(|_| Error::Exporter("making the HTTP client panicked".into()))?;
    client.map_err(|error| Error::Exporter(error.into()))
}

/// The URL that spans are sent to, and the headers for it: a user and password
/// become `Authorization`, so that no error shows them.
fn traces_url(endpoint: &str) -> Result<(Url, HashMap<String, String>), Error> {
    let mut url = Url::parse(endpoint).map_err(|error| Error::Exporter(error.into()))?;
    let mut headers = HashMap::new();
    if !url.username().is_empty() || url.password().is_some() {
        let credentials = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
        let value = base64::engine::general_purpose::STANDARD.encode(credentials);
        headers.insert("authorization".to_owned(), format!("Basic {value}"));
        // Neither fails for a URL with a host, which the configuration has checked.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok((url, headers))
}

fn decoded(text: &str) -> std::borrow::Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use tracing::{Level, dispatcher, enabled};

    use super::{build, otlp, traces_url};
    use crate::config;

    #[test]
    fn lines_from_info_up_are_written_with_and_without_a_receiver() {
        for otlp_endpoint in [None, Some("http://127.0.0.1:9".to_owned())] {
            let traced = otlp_endpoint.is_some();
            let (subscriber, guard) =
                build(&config::Telemetry { otlp_endpoint, ..config::Telemetry::default() }).unwrap();
            dispatcher::with_default(&subscriber, || {
                assert!(enabled!(Level::WARN) && enabled!(Level::INFO));
                assert!(!enabled!(Level::DEBUG));
                let span = tracing::info_span!(target: otlp::TARGET, "request");
                assert_eq!(span.is_disabled(), !traced);
                assert!(tracing::trace_span!("other").is_disabled());
            });
            guard.shutdown();
        }
    }

    #[test]
    fn the_path_to_traces_follows_the_base_url() {
        for (base, traces) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("https://collector.example/otlp/", "https://collector.example/otlp/v1/traces"),
        ] {
            let (url, headers) = traces_url(base).unwrap();
            assert_eq!(url.as_str(), traces);
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn a_user_and_password_are_sent_as_a_header_and_leave_the_url() {
        let (url, headers) = traces_url("http://ann:p%40ss@localhost:4318").unwrap();
        assert_eq!(url.as_str(), "http://localhost:4318/v1/traces");
        // printf 'ann:p@ss' | base64
        assert_eq!(headers["authorization"], "Basic YW5uOnBAc3M=");
    }
}
