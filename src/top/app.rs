//! What `top` shows, and what keys do to it. Nothing here knows a terminal.

use std::{collections::VecDeque, time::Duration};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::status::{self, Report};

/// Rates that are remembered: the widest terminal there is.
const HISTORY_MAX: usize = 400;

/// What fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    /// The selected channel.
    Channel,
    Help,
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Quit,
}

/// Events a second between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) received: f64,
    pub(super) delivered: f64,
}

/// The state of the screen.
pub(super) struct App {
    pub(super) view: View,
    pub(super) every: Duration,
    pub(super) has_colour: bool,
    /// The last one that came, or where it was paused.
    pub(super) report: Option<Report>,
    pub(super) rates: VecDeque<Rate>,
    /// Why there is no newer one, and since when.
    pub(super) silent: Option<(String, i64)>,
    pub(super) is_paused: bool,
    /// By name, so that it stays the same when the order changes.
    selected: Option<String>,
}

impl App {
    pub(super) fn new(every: Duration, has_colour: bool) -> Self {
        Self {
            view: View::Overview,
            every,
            has_colour,
            report: None,
            rates: VecDeque::new(),
            silent: None,
            is_paused: false,
            selected: None,
        }
    }

    /// Takes what a look brought.
    pub(super) fn take(&mut self, look: Result<Report, String>, now_unix_ms: i64) {
        let report = match look {
            Ok(report) => report,
            Err(why) => {
                let since = self.silent.take();
                self.silent = Some((why, since.map_or(now_unix_ms, |(_, since)| since)));
                return;
            }
        };
        self.silent = None;
        if self.is_paused {
            return;
        }
        if let Some(rate) = self
            .report
            .as_ref()
            .and_then(|before| rate(before, &report))
        {
            self.rates.push_back(rate);
            while self.rates.len() > HISTORY_MAX {
                self.rates.pop_front();
            }
        }
        self.report = Some(report);
    }

    /// Names of channels as they are shown.
    pub(super) fn names(&self) -> Vec<&String> {
        let report = self.report.as_ref();
        let order = report.map(status::order).unwrap_or_default();
        order.into_iter().map(|(name, _)| name).collect()
    }

    /// Which of them is selected.
    pub(super) fn selected(&self) -> usize {
        let names = self.names();
        let selected = self.selected.as_ref();
        let index = selected.and_then(|selected| names.iter().position(|name| *name == selected));
        index.unwrap_or(0)
    }

    fn select(&mut self, index: usize) {
        let names = self.names();
        let last = names.len().saturating_sub(1);
        self.selected = names.get(index.min(last)).map(|name| (*name).clone());
    }

    /// Does what a key says.
    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return Next::Quit,
            _ if is_control => {}
            // From within, the way out is the way back.
            KeyCode::Esc | KeyCode::Char('q') if self.view != View::Overview => {
                self.view = View::Overview;
            }
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('?' | 'h') => {
                self.view = match self.view {
                    View::Help => View::Overview,
                    _ => View::Help,
                };
            }
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected() + 1),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected().saturating_sub(1)),
            KeyCode::PageDown => self.select(self.selected() + 10),
            KeyCode::PageUp => self.select(self.selected().saturating_sub(10)),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            KeyCode::Enter if self.view == View::Overview && !self.names().is_empty() => {
                self.select(self.selected());
                self.view = View::Channel;
            }
            _ => {}
        }
        Next::Go
    }
}

/// How fast counts grew; nothing between two runs of the relay.
fn rate(before: &Report, now: &Report) -> Option<Rate> {
    let seconds = (now.now_unix_ms - before.now_unix_ms) as f64 / 1_000.0;
    if seconds <= 0.0 || before.started_unix_ms != now.started_unix_ms {
        return None;
    }
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
    let (now, before) = (now.ledger.as_ref()?, before.ledger.as_ref()?);
    Some(Rate {
        received: rate(now.received, before.received),
        delivered: rate(now.delivered, before.delivered),
    })
}
