//! Numbers as people read them.

use crate::output::count;

const BAR_CHARS: u64 = 10;

/// `1,234`.
pub(super) fn grouped(number: u64) -> String {
    count(number, "").trim_end_matches([' ', 's']).to_owned()
}

/// `8.2 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1_024.0;
    let mut unit = 0;
    // What would be shown as 1024.0 is one of the next.
    while size >= 1_023.95 && unit + 1 < UNITS.len() {
        size /= 1_024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// `12.3 %` of a whole.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    match share {
        _ if part == 0 => "0 %".to_owned(),
        _ if share < 0.05 => "<0.1 %".to_owned(),
        _ if part < whole && share >= 99.95 => ">99.9 %".to_owned(),
        _ => format!("{share:.1} %"),
    }
}

/// `-12.3 %`.
pub(super) fn change(before: u64, after: u64) -> String {
    if before == after {
        return "=".to_owned();
    }
    if before == 0 {
        return "new".to_owned();
    }
    let sign = match after < before {
        true => '-',
        false => '+',
    };
    let by = percent(after.abs_diff(before), before);
    match by.strip_prefix('<') {
        Some(rest) => format!("<{sign}{rest}"),
        None => format!("{sign}{}", by.trim_start_matches('>')),
    }
}

/// How much of a whole, as a bar.
pub(super) fn bar(part: u64, whole: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if whole == 0 {
        return String::new();
    }
    let share = part.min(whole) as f64 / whole as f64;
    let eighths = (share * (BAR_CHARS * 8) as f64).round() as usize;
    let full = "█".repeat(eighths / 8);
    format!("{full}{}", EIGHTHS[eighths % 8])
}

/// `3 min 51 s`.
pub(super) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        for (number, expected) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (8_604_178, "8.2 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
    }

    #[test]
    fn a_share_is_never_told_as_nothing_or_as_all_when_it_is_not() {
        for (part, whole, expected) in [
            (0, 0, "-"),
            (0, 10, "0 %"),
            (1, 3, "33.3 %"),
            (1, 1_000_000, "<0.1 %"),
            (999_999, 1_000_000, ">99.9 %"),
            (7, 7, "100.0 %"),
        ] {
            assert_eq!(percent(part, whole), expected);
        }
        for (before, after, expected) in [
            (10, 10, "="),
            (0, 0, "="),
            (0, 3, "new"),
            (10, 5, "-50.0 %"),
            (10, 15, "+50.0 %"),
            (10, 0, "-100.0 %"),
            (1_000_000, 999_999, "<-0.1 %"),
        ] {
            assert_eq!(change(before, after), expected);
        }
        // Nearly all, and not all.
        assert_eq!(change(1_000_000, 1), "-99.9 %");
    }

    #[test]
    fn a_bar_is_as_long_as_the_share() {
        assert_eq!(bar(0, 8), "");
        assert_eq!(bar(1, 80), "▏");
        assert_eq!(bar(1, 2), "█████");
        assert_eq!(bar(9, 8), "██████████");
        assert_eq!(bar(1, 0), "");
    }

    #[test]
    fn time_and_numbers_are_readable() {
        assert_eq!(span(51.9), "51 s");
        assert_eq!(span(231.0), "3 min 51 s");
        assert_eq!(span(7_260.0), "2 h 1 min");
        assert_eq!(span(90_000.0), "1 d 1 h");
        assert_eq!(grouped(1), "1");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
