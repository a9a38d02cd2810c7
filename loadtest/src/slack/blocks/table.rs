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
