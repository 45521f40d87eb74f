//! Text in columns, and text of a node made fit for a terminal.

/// Columns as wide as their widest cell; the last is not padded. Every row ends with a line break.
#[must_use]
pub fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let columns = rows.iter().map(|row| row.as_ref().len()).max();
    let mut widths = vec![0; columns.unwrap_or(0)];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .as_ref()
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A word that a guest may have written: no control characters, at most 60 characters.
#[must_use]
pub fn plain(word: &str) -> String {
    const LONGEST: usize = 60;
    let mut word: String = word.chars().filter(|c| !c.is_control()).collect();
    if let Some((end, _)) = word.char_indices().nth(LONGEST) {
        word.truncate(end);
        word.push('…');
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     B\nlong  x\n");
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb"), "a[2Jb");
        assert_eq!(plain(&"é".repeat(80)).chars().count(), 61);
    }
}
