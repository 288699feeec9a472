//! The server's process: arguments, logging, signals, exit codes.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use oxkeeper::clock::SystemClock;
use oxkeeper::config::{self, Action, Rejection, Settings, Warning};
use oxkeeper::server::{Server, ServerError};
use oxkeeper::system::{self, Limits};
use oxkeeper::{metrics, planted, telemetry};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Znodes are made by one thread and given back by others, all the time: glibc's allocator takes a
/// lock for most of that, this one for few.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// zk: ExitCode.UNABLE_TO_ACCESS_DATADIR.
const EXIT_DATA_DIR: u8 = 3;
/// zk: ExitCode.UNEXPECTED_ERROR.
const EXIT_UNEXPECTED: u8 = 1;
/// Threads for work that blocks, beside those of the ensemble: reads of the disk, words, metrics.
const BLOCKING_THREADS: usize = 4;

fn main() -> ExitCode {
    let loaded = match config::load(std::env::args_os().skip(1), &config::environment) {
        Ok(loaded) => loaded,
        Err(failure) => {
            say(&mut std::io::stderr(), &failure);
            return ExitCode::from(Rejection::EXIT_CODE);
        }
    };
    match loaded.action {
        Action::Check | Action::Say(_) => {
            say(&mut std::io::stdout(), &loaded);
            ExitCode::SUCCESS
        }
        Action::Run(settings) => run(*settings, &loaded.warnings),
    }
}

/// Prints; a closed pipe is not worth an error.
fn say(out: &mut dyn Write, text: &dyn std::fmt::Display) {
    drop(writeln!(out, "{text}"));
}

fn run(settings: Settings, warnings: &[Warning]) -> ExitCode {
    let limits = Limits::raise();
    let planted = match planted::check() {
        Ok(planted) => planted,
        Err(why) => {
            say(&mut std::io::stderr(), &why);
            return ExitCode::from(EXIT_UNEXPECTED);
        }
    };
    let (runtime, harmless) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            say(&mut std::io::stderr(), &format_args!("{error:#}"));
            return ExitCode::from(EXIT_UNEXPECTED);
        }
    };
    end_on_panic();
    metrics::install();
    if let Some(defect) = planted {
        tracing::error!(
            ?defect,
            "this server is broken on purpose, for tests: no data is safe here"
        );
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    limits.log();
    let code = exit_code(runtime.block_on(serve(settings, harmless)));
    telemetry::flush();
    leave(code)
}

/// Ends the process at once: nothing that still waits for a disk keeps it, such as RocksDB's threads,
/// which an ordinary exit joins; and nothing is taken apart under a thread that still uses it.
fn leave(code: u8) -> ! {
    signal_hook::low_level::exit(i32::from(code))
}

/// The server's own runtime, with all the threads that it needs; signals that do not end the process
/// from now on; then the log, of which the first line might bring about one.
fn prepare() -> anyhow::Result<(Runtime, Harmless)> {
    let mut builder = Builder::new_multi_thread();
    let runtime = system::keep_threads(builder.enable_all(), "server").build();
    let runtime = runtime.context("start the runtime")?;
    system::start_threads(runtime.handle(), BLOCKING_THREADS).context("start its threads")?;
    let harmless = {
        let _within = runtime.enter();
        Harmless::listen()?
    };
    telemetry::start(config::environment("OXKEEPER_LOG").as_deref()).context("start the log")?;
    Ok((runtime, harmless))
}

fn exit_code(served: anyhow::Result<()>) -> u8 {
    match served {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{error:#}");
            let of_storage = matches!(
                error.downcast_ref::<ServerError>(),
                Some(ServerError::Storage(_))
            );
            if of_storage {
                EXIT_DATA_DIR
            } else {
                EXIT_UNEXPECTED
            }
        }
    }
}

/// A panic anywhere ends the process at once: crash and recovery is the one tested path, and a
/// server that lost one of its tasks must not go on. A hook instead of `panic = "abort"`, which
/// would have every crate compiled a second time for the tests. The usual hook would wait for
/// whoever reads standard error.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panicked| {
        telemetry::say_panic(panicked);
        std::process::abort();
    }));
}

/// Signals that would end the process and must not.
struct Harmless {
    hangup: Signal,
    quit: Signal,
    _file_size: Signal,
}

impl Harmless {
    /// From here on they do not end it.
    fn listen() -> anyhow::Result<Self> {
        // A file that may not grow is an error of the write, as on the JVM.
        let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        Ok(Self {
            hangup: signal(SignalKind::hangup()).context("listen for SIGHUP")?,
            quit: signal(SignalKind::quit()).context("listen for SIGQUIT")?,
            _file_size: signal(file_size).context("listen for SIGXFSZ")?,
        })
    }

    /// Does what they ask for, for ever.
    async fn heed(mut self, server: &Server) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => tracing::info!("SIGHUP: nothing is to be opened again"),
                _ = self.quit.recv() => telemetry::say(server.situation().await),
            }
        }
    }
}

async fn serve(settings: Settings, harmless: Harmless) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let server = tokio::select! {
        started = Server::start(settings, Arc::new(SystemClock)) => started?,
        // What has not served has nothing to drain: the next start begins where this one did.
        _ = terminate.recv() => return stopped_early("SIGTERM"),
        _ = interrupt.recv() => return stopped_early("SIGINT"),
    };
    match server.client_addr() {
        Some(addr) => tracing::info!(%addr, version = env!("CARGO_PKG_VERSION"), "serving"),
        None => tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            "serving nobody: no client port"
        ),
    }
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
        () = harmless.heed(&server) => {}
        error = server.failed() => {
            // No orderly stop: what is in memory may not be what is on disk. Nor is it taken apart,
            // which might wait for that disk.
            std::mem::forget(server);
            return Err(anyhow::Error::new(error).context("the server cannot go on"));
        }
    }
    server.stop().await;
    tracing::info!("stopped");
    Ok(())
}

fn stopped_early(signal: &str) -> anyhow::Result<()> {
    tracing::info!("stopped on {signal} before it served");
    Ok(())
}
