//! Messages per minute as block characters.

use std::collections::BTreeMap;

use super::figures::Minute;

const COLUMNS_MAX: usize = 60;
const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One line: each column the most messages of a minute in it, of `most` a full block; nothing posted is a blank.
pub(super) fn line(minutes: &BTreeMap<i64, Minute>, first: i64, last: i64, most: u64) -> String {
    columns(minutes, first, last)
        .into_iter()
        .map(|messages| match messages {
            0 => ' ',
            some => {
                let eighths = (some * 8).div_ceil(most.max(1)).clamp(1, 8);
                EIGHTHS[eighths as usize - 1]
            }
        })
        .collect()
}

/// How many minutes one column stands for.
pub(super) fn minutes_per_column(first: i64, last: i64) -> i64 {
    let minutes = (last - first + 1).max(1);
    (minutes + COLUMNS_MAX as i64 - 1) / COLUMNS_MAX as i64
}

fn columns(minutes: &BTreeMap<i64, Minute>, first: i64, last: i64) -> Vec<u64> {
    let each = minutes_per_column(first, last);
    let count = ((last - first) / each + 1).max(1) as usize;
    let mut columns = vec![0; count];
    for (at, minute) in minutes.range(first..=last) {
        let column = &mut columns[((at - first) / each) as usize];
        *column = minute.messages.max(*column);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_high_as_its_worst_minute() {
        let minute = |messages| Minute {
            messages,
            ..Minute::default()
        };
        let minutes = BTreeMap::from([(10, minute(1)), (11, minute(60)), (13, minute(30))]);
        assert_eq!(line(&minutes, 10, 13, 60), "▁█ ▄");
        assert_eq!(minutes_per_column(0, 119), 2);
        let long = line(&minutes, 0, 119, 60);
        assert_eq!(long, format!("     █▄{}", " ".repeat(53)));
    }
}
