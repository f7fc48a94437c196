//! Records of CSV and TSV, cut at their ends.

use super::lines::{LONGEST_LINE, Lines, without_end};
use crate::error::{Error, QuoteProblem, Result};

/// Separator and quotation mark of CSV or TSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub separator: u8,
    pub quote: Option<u8>,
}

impl Dialect {
    /// Returns the quotation mark of the records that a [`RecordCutter`] returns.
    pub fn output_quote(self) -> u8 {
        self.quote.unwrap_or(b'"')
    }
}

/// Cutter of records. polars parses what it returns.
///
/// polars alone accepts text behind a closing quote, pads short records, names no line, and
/// counts any quotation mark when it looks for the end of a record.
pub(crate) struct RecordCutter {
    pub lines: Lines,
    pub dialect: Dialect,
    line: String,
    /// Empty lines before a record.
    pub empty_lines: usize,
    /// True if empty lines are records of an empty cell, as in a list of texts.
    pub keeps_empty_lines: bool,
    /// True once a cell was quoted.
    pub has_quoted: bool,
    /// First line with a cell in quotation marks, if quotation marks are text.
    pub looks_quoted: Option<usize>,
    /// Records that span several lines.
    pub multiline: usize,
    /// Lines of the longest record, and its first line.
    pub longest: (usize, usize),
}

/// Position and size of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// First line, from 1.
    pub line: usize,
    pub cells: usize,
}

impl RecordCutter {
    pub fn new(lines: Lines, dialect: Dialect) -> Self {
        let line = String::new();
        Self {
            lines,
            dialect,
            line,
            empty_lines: 0,
            keeps_empty_lines: false,
            has_quoted: false,
            looks_quoted: None,
            multiline: 0,
            longest: (1, 1),
        }
    }

    /// Appends the next record, ending with `\n` and quoted so that polars reads it as it is, to
    /// `out`; returns `None` at the end. Empty lines between records are skipped and counted,
    /// unless they are records.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<Record>> {
        let mut empty_lines = 0;
        loop {
            if !self.lines.next(&mut self.line)? {
                return Ok(None);
            }
            if self.keeps_empty_lines || !without_end(&self.line).is_empty() {
                break;
            }
            empty_lines += 1;
        }
        self.empty_lines += empty_lines;
        let (line, begin) = (self.lines.number(), out.len());
        let (mut cells, mut at) = (0, 0);
        loop {
            let ended = match self.dialect.quote {
                Some(quote) if self.line.as_bytes().get(at) == Some(&quote) => {
                    self.quoted(quote, &mut at, line, begin, out)?
                }
                _ => self.bare(&mut at, out),
            };
            cells += 1;
            if ended {
                break;
            }
            out.push(self.dialect.separator);
        }
        out.push(b'\n');
        let span = self.lines.number() - line + 1;
        self.multiline += usize::from(span > 1);
        if span > self.longest.0 {
            self.longest = (span, line);
        }
        Ok(Some(Record { line, cells }))
    }

    /// Copies a cell without quotes; returns whether the record ends with it.
    fn bare(&mut self, at: &mut usize, out: &mut Vec<u8>) -> bool {
        let rest = &without_end(&self.line).as_bytes()[*at..];
        let end = rest.iter().position(|byte| *byte == self.dialect.separator);
        let cell = &rest[..end.unwrap_or(rest.len())];
        let quote = self.dialect.output_quote();
        if self.dialect.quote.is_none() && matches!(cell, [b'"', .., b'"']) {
            self.looks_quoted.get_or_insert(self.lines.number());
        }
        let is_empty_line = cell.is_empty() && *at == 0 && end.is_none();
        if is_empty_line || cell.contains(&quote) || cell.ends_with(b"\r") {
            // To polars such a mark opens or closes a quoted cell, a \r ends a line, and an
            // empty line is skipped.
            out.push(quote);
            for &byte in cell {
                out.push(byte);
                if byte == quote {
                    out.push(quote);
                }
            }
            out.push(quote);
        } else {
            out.extend_from_slice(cell);
        }
        *at += cell.len() + 1;
        end.is_none()
    }

    /// Copies a quoted cell, which may span lines; returns whether the record ends with it.
    fn quoted(
        &mut self,
        quote: u8,
        at: &mut usize,
        first: usize,
        begin: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let opened = self.lines.number();
        self.has_quoted = true;
        out.push(quote);
        *at += 1;
        loop {
            let rest = &self.line.as_bytes()[*at..];
            let Some(end) = rest.iter().position(|byte| *byte == quote) else {
                out.extend_from_slice(rest);
                if out.len() - begin > LONGEST_LINE {
                    return Err(self.lines.too_long(first));
                }
                *at = 0;
                if !self.lines.next(&mut self.line)? {
                    return Err(self.quote_error(first, QuoteProblem::Open));
                }
                continue;
            };
            out.extend_from_slice(&rest[..=end]);
            *at += end + 1;
            let behind = &self.line.as_bytes()[*at..];
            match behind.first() {
                Some(byte) if *byte == quote => out.push(quote),
                Some(byte) if *byte == self.dialect.separator => {
                    *at += 1;
                    return Ok(false);
                }
                _ if matches!(behind, b"" | b"\n" | b"\r\n") => return Ok(true),
                _ => {
                    let line = self.lines.number();
                    return Err(self.quote_error(line, QuoteProblem::Behind { opened }));
                }
            }
            *at += 1;
        }
    }

    fn quote_error(&self, line: usize, problem: QuoteProblem) -> Error {
        Error::Quotes { path: self.lines.name().to_owned(), line, problem }
    }
}
