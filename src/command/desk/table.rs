//! Tables and times for people. What users chose, such as the name of a device, cannot move the cursor of a terminal.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

/// Lines of cells under a head.
#[derive(Debug)]
pub(in crate::command) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    pub(in crate::command) fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Self { lines: vec![head] }
    }

    pub(in crate::command) fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().collect());
    }

    /// As text that fits the terminal, if standard output is one.
    pub(in crate::command) fn render(&self) -> String {
        let room = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        self.within(room.unwrap_or(usize::MAX))
    }

    /// Columns as wide as their widest cell, two blanks between; or, where that is wider than `room`, one block for each line.
    fn within(&self, room: usize) -> String {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| clean(cell).chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns)
            .map(|column| width(column).unwrap_or(0))
            .collect();
        let whole = widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
        // Pairs are as narrow as they can be.
        if whole > room && columns > 2 && self.lines.len() > 1 {
            return self.blocks();
        }
        let mut text = String::new();
        for line in &self.lines {
            let cells = line.iter().zip(&widths);
            let line = cells
                .map(|(cell, width)| format!("{:width$}", clean(cell)))
                .collect::<Vec<_>>()
                .join("  ");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Every line as cells under each other, each behind the head of its column.
    fn blocks(&self) -> String {
        let Some((head, lines)) = self.lines.split_first() else {
            return String::new();
        };
        let widest = head.iter().map(|name| name.chars().count()).max();
        let width = widest.unwrap_or(0);
        let block = |line: &Vec<String>| -> String {
            let cells = head.iter().zip(line);
            cells
                .map(|(name, cell)| format!("{name:width$}  {}\n", clean(cell)))
                .collect()
        };
        lines.iter().map(block).collect::<Vec<_>>().join("\n")
    }
}

/// The text without control characters, and `-` for nothing.
fn clean(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    match text {
        "" => "-".to_owned(),
        text => text.chars().map(clean).collect(),
    }
}

/// What stands at this place (a JSON pointer, RFC 6901); null if there is nothing.
pub(in crate::command) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// A time in Unix milliseconds as UTC; `-` if it is absent.
pub(in crate::command) fn moment(millis: &Value) -> String {
    let Some(millis) = millis.as_u64() else {
        return "-".to_owned();
    };
    match UNIX_EPOCH.checked_add(Duration::from_millis(millis)) {
        // Beyond the year 9999 there is no way to write it.
        Some(time) if millis <= 253_402_300_799_999 => {
            humantime::format_rfc3339_seconds(time).to_string()
        }
        Some(_) | None => "never".to_owned(),
    }
}

/// A text or a list of texts, with commas between; `-` for nothing.
pub(in crate::command) fn words(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list
            .iter()
            .map(|item| {
                item.as_str()
                    .map_or_else(|| item.to_string(), str::to_owned)
            })
            .collect::<Vec<_>>()
            .join(", "),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    };
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_stand_under_each_other_and_no_cell_moves_the_cursor() {
        let mut table = Table::new(&["SID", "NAME"]);
        table.line(["a".to_owned(), "Büro\x1b[2J".to_owned()]);
        table.line(["abcdef".to_owned(), String::new()]);

        assert_eq!(
            table.render(),
            "SID     NAME\na       Büro\u{fffd}[2J\nabcdef  -\n"
        );
    }

    #[test]
    fn a_table_that_is_too_wide_for_its_terminal_becomes_blocks() {
        let mut table = Table::new(&["SESSION", "NAME", "TYPE"]);
        table.line(["a".to_owned(), "Pixel".to_owned(), "phone".to_owned()]);
        table.line(["b".to_owned(), String::new(), "tv".to_owned()]);

        let wide = "SESSION  NAME   TYPE\na        Pixel  phone\nb        -      tv\n";
        assert_eq!(table.within(21), wide);
        assert_eq!(
            table.within(20),
            "SESSION  a\nNAME     Pixel\nTYPE     phone\n\nSESSION  b\nNAME     -\nTYPE     tv\n"
        );
        let mut pairs = Table::new(&["access token", "dbt_0123456789"]);
        pairs.line(["ends".to_owned(), "never".to_owned()]);
        assert_eq!(
            pairs.within(10),
            "access token  dbt_0123456789\nends          never\n"
        );
    }

    #[test]
    fn times_and_lists_are_told_in_words() {
        assert_eq!(
            moment(&json!(1_700_000_000_000_u64)),
            "2023-11-14T22:13:20Z"
        );
        assert_eq!(
            (moment(&json!(null)), moment(&json!(u64::MAX))),
            ("-".into(), "never".into())
        );
        assert_eq!(words(&json!(["a", "b\n"])), "a, b\u{fffd}");
        assert_eq!(
            (words(&json!([])), words(&json!(null)), words(&json!(7))),
            ("-".into(), "-".into(), "7".into())
        );
    }
}
