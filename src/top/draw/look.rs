//! Colours, where they are wanted. Without them nothing is lost: states are words.

use ratatui::style::{Color, Modifier, Style};

/// Colours, or none.
#[derive(Clone, Copy)]
pub(super) struct Look(pub(super) bool);

impl Look {
    pub(super) fn colour(self, colour: Color) -> Style {
        match self.0 {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    pub(super) fn care(self) -> Style {
        self.colour(Color::Yellow)
    }

    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn state(self, state: &str) -> Style {
        match state {
            "open" => self.good(),
            "parked" => self.bad(),
            _ => self.care(),
        }
    }
}
