//! The log: lines for a person, or JSON for a machine.

use clap::ValueEnum;
use picolet_linux::Journals;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// In which form.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Format {
    /// Lines for a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log. `RUST_LOG` chooses what is shown (`info` unless it says otherwise).
pub(crate) fn start(format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr);
    // A second start (a test, a demo within a process) keeps the first one's settings.
    let _ = match format {
        Format::Text => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal());
            builder.finish().with(Journals).try_init()
        }
        Format::Json => {
            let builder = builder.json().flatten_event(true);
            builder.finish().with(Journals).try_init()
        }
    };
}
