//! The table in good days and bad ones.
