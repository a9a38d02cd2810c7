//! The `table` block: one in a message, with a bounded number of rows and cells.

use serde_json::Value;

use super::{Fields, Problems, given};

const ROWS_MAX: usize = 100;
const CELLS_MAX: usize = 20;
const SETTINGS_MAX: usize = 20;

/// How many tables a message has.
pub(super) fn count(blocks: &[Value]) -> usize {
    let is_table = |block: &&Value| block["type"] == "table";
    blocks.iter().filter(is_table).count()
}

impl Problems {
    pub(super) fn table(&mut self, pointer: &str, block: &Fields) {
        if given(block, "column_settings").is_some() {
            self.items(pointer, block, "column_settings", SETTINGS_MAX);
        }
        let rows = self.items(pointer, block, "rows", ROWS_MAX);
        for (index, row) in rows.iter().enumerate() {
            let pointer = format!("{pointer}/rows/{index}");
            let Some(cells) = row.as_array() else {
                self.add("must be an array", &pointer);
                continue;
            };
            self.count(&pointer, cells.len(), CELLS_MAX);
            for (index, cell) in cells.iter().enumerate() {
                self.cell(&format!("{pointer}/{index}"), cell);
            }
        }
    }

    fn cell(&mut self, pointer: &str, cell: &Value) {
        let Some(fields) = self.object(pointer, cell) else {
            return;
        };
        match super::kind(fields) {
            "raw_text" => self.string(pointer, fields, "text", usize::MAX - 1, true),
            "rich_text" => self.rich_text(pointer, fields),
            unknown => self.unsupported(pointer, unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{broken, details, passes};
    use super::*;

    fn table(rows: usize, cells: usize) -> Value {
        let cell = json!({"type": "raw_text", "text": "a"});
        json!({"type": "table", "rows": vec![vec![cell; cells]; rows]})
    }

    #[test]
    fn tables_have_limits_and_a_message_has_one() {
        passes(&[table(100, 20)]);
        broken(table(101, 1), "no more than 100 items allowed", "/rows");
        broken(table(1, 21), "no more than 20 items allowed", "/rows/0");
        let text = json!({"type": "table", "rows": [[{"type": "text"}]]});
        broken(text, "unsupported type: text", "/rows/0/0/type");
        let two = super::super::check(&[table(1, 1), table(1, 1)], 12_000).unwrap_err();
        assert_eq!(two.code, "invalid_attachments");
        assert_eq!(two.details, ["only_one_table_allowed"]);
    }

    #[test]
    fn markdown_blocks_have_one_limit_together() {
        let markdown = |chars: usize| json!({"type": "markdown", "text": "a".repeat(chars)});
        passes(&[markdown(6_000), markdown(6_000)]);
        let expected = "must be less than 12001 characters [json-pointer:/blocks]";
        assert_eq!(details(&[markdown(6_000), markdown(6_001)]), [expected]);
    }
}
