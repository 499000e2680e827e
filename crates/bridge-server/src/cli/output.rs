//! What people and programs get to read.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use anyhow::{Context, Result};
use bridge_protocol::{Problem, Time};
use serde::Serialize;
use serde_json::json;

use crate::client::ClientError;

/// Where results go, and in which form.
#[derive(Debug)]
pub(super) struct Output {
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { form: if json { Form::Json } else { Form::Text } }
    }

    /// Prints a result: as one line of JSON, or as `text` tells it.
    pub(super) fn result<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        match self.form {
            Form::Json => self.line(&serde_json::to_string(value).context("The result is no JSON")?),
            Form::Text => self.line(&text(value)),
        }
    }

    /// Prints one thing of many that come one after another.
    pub(super) fn line(&self, line: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }

    pub(super) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Says something that is no result.
    pub(super) fn note(&self, text: &str) {
        // Nobody can be told that nobody can be told.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says why there is no result.
    pub(super) fn error(&self, error: &anyhow::Error) {
        let problem = match error.downcast_ref::<ClientError>() {
            Some(ClientError::Refused(problem)) => Some(problem),
            _ => None,
        };
        if self.form == Form::Json {
            let error =
                problem.map_or_else(|| json!({ "detail": format!("{error:#}") }), |problem| json!(problem));
            return self.note(&json!({ "error": error }).to_string());
        }
        self.note(&format!("error: {error}"));
        let causes = error.chain().skip(1).map(ToString::to_string);
        // Some say no more than their title.
        let more = |problem: &Problem| {
            problem.detail.clone().filter(|detail| !detail.eq_ignore_ascii_case(&problem.title))
        };
        for cause in problem.and_then(|problem| more(problem)).into_iter().chain(causes) {
            self.note(&format!("  because: {}", shown(&cause).replace('\n', "\n    ")));
        }
    }
}

/// Text of others, without what a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            // Marks that turn the direction of what follows, and tags nobody sees.
            '\u{200e}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{e0000}'..='\u{e0fff}' => char::REPLACEMENT_CHARACTER,
            _ if character.is_control() => char::REPLACEMENT_CHARACTER,
            _ => character,
        })
        .collect()
}

/// Text of others, on one line.
pub(super) fn shown_on_a_line(text: &str) -> String {
    shown(text).replace(['\n', '\t'], " ")
}

/// The time of day, in UTC.
pub(super) fn clock(time: Time) -> String {
    let full = time.to_string();
    full.get(11..19).map_or_else(|| full.clone(), |clock| format!("{clock}Z"))
}

/// Rows below their heads, each column as wide as its widest cell.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in [heads.map(str::to_owned)].iter().chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:width$}  ").expect("a string takes everything");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_given_orders() {
        assert_eq!(shown("a\u{1b}[31mb\u{7}\r\n\tc"), "a\u{fffd}[31mb\u{fffd}\u{fffd}\n\tc");
        assert_eq!(shown("\u{202e}gpj.exe \u{e0041}"), "\u{fffd}gpj.exe \u{fffd}");
        assert_eq!(shown_on_a_line("two\nlines"), "two lines");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["ses_1".to_owned(), "2".to_owned()], ["default".to_owned(), String::new()]];
        assert_eq!(table(["ID", "WAITING"], &rows), "ID       WAITING\nses_1    2\ndefault");
    }
}
