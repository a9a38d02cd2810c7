//! `auditrelay top`: the running relay, live in a terminal.
//!
//! Invariants:
//! * the terminal is as it was afterwards: after `q`, an error, a signal and a panic;
//! * it only looks, at what `/status` says; a relay that goes away is said and waited for;
//! * text of others enters the screen cleaned, so it cannot act on the terminal.

mod app;
mod args;
mod draw;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    Failure,
    reach::{AdminAddress, fetch},
    status::{self, Report},
    when::now_unix_ms,
};
use app::{App, Next};
pub(crate) use args::TopArgs;

/// How long the thread that reads keys looks before it asks whether anybody still wants them.
const KEYS_PAUSE: Duration = Duration::from_millis(200);

pub(crate) async fn run(args: &TopArgs) -> Result<ExitCode, Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let reason = "top needs a terminal; `auditrelay status` prints the same once, `status --json` for scripts";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let data_dir = args.place.data_dir_of_relay()?;
    let every = Duration::from_secs(args.interval);
    let mut app = App::new(every, has_colour());
    let terminal = ratatui::try_init().map_err(|error| terminal_failed(&error))?;
    // What panics restores it by itself.
    let outcome = show(terminal, &mut app, &data_dir, every).await;
    ratatui::restore();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// <https://no-color.org>: any value but an empty one.
fn has_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn terminal_failed(error: &io::Error) -> Failure {
    Failure::Other(format!(
        "the terminal cannot be used: {error}; `auditrelay status` needs none"
    ))
}

async fn show(
    mut terminal: DefaultTerminal,
    app: &mut App,
    data_dir: &Path,
    every: Duration,
) -> Result<(), Failure> {
    let (mut keys, mut looks) = (keys(), looks(data_dir.to_owned(), every));
    let listen = |kind| signal(kind).map_err(|error| terminal_failed(&error));
    let (mut terminate, mut hangup) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    );
    loop {
        terminal
            .draw(|frame| draw::draw(frame, app))
            .map_err(|error| terminal_failed(&error))?;
        tokio::select! {
            look = looks.recv() => match look {
                Some(look) => app.take(look, now_unix_ms()),
                None => return Ok(()),
            },
            event = keys.recv() => match event {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    if app.key(key) == Next::Quit {
                        return Ok(());
                    }
                }
                // Such as another size: it is drawn anew.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(terminal_failed(&error)),
                None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
    }
}

/// What is typed. The thread ends soon after nobody listens any more.
fn keys() -> mpsc::Receiver<io::Result<Event>> {
    let (send, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !send.is_closed() {
            let event = match event::poll(KEYS_PAUSE) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let is_over = event.is_err();
            if send.blocking_send(event).is_err() || is_over {
                return;
            }
        }
    });
    keys
}

/// How the relay is, again and again; a slow answer holds up no key.
fn looks(data_dir: PathBuf, every: Duration) -> mpsc::Receiver<Result<Report, String>> {
    let (send, looks) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if send.send(look(&data_dir).await).await.is_err() {
                return;
            }
        }
    });
    looks
}

async fn look(data_dir: &Path) -> Result<Report, String> {
    let Some(relay) = AdminAddress::read(data_dir) else {
        return Err("the relay does not run, or it starts".to_owned());
    };
    let begun = Instant::now();
    let Some(answer) = fetch(&relay, status::PATH).await else {
        let seconds = begun.elapsed().as_secs();
        let address = relay.address;
        return Err(match seconds {
            0 => format!("the relay does not answer on {address}"),
            _ => format!("the relay did not answer on {address} within {seconds} s"),
        });
    };
    let report = serde_json::from_value(answer);
    report.map_err(|_| "the relay's answer cannot be read; is it another version?".to_owned())
}
