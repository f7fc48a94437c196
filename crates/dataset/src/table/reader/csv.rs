//! Records of CSV (RFC 4180).

use csv_core::{ReadRecordResult, Reader};

use super::lines::{LONGEST_LINE, Lines};
use crate::error::Result;

/// Records of a CSV file. The parser is given line after line, so that every
/// record's first line is known and no unclosed quote reads on to the end of the
/// file in memory.
pub(crate) struct CsvRecords {
    pub lines: Lines,
    parser: Box<Reader>,
    line: String,
    /// Bytes of `line` that the parser has had.
    used: usize,
    /// Cells of a record end to end, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl CsvRecords {
    pub fn new(lines: Lines) -> Self {
        Self {
            lines,
            parser: Box::new(Reader::new()),
            line: String::new(),
            used: 0,
            bytes: vec![0; 1 << 10],
            ends: vec![0; 16],
        }
    }

    /// Puts the cells of the next record in place of `cells`; gives the number of
    /// the line that it begins in, or `None` at the end. Empty lines between
    /// records are passed over.
    pub fn next(&mut self, cells: &mut Vec<String>) -> Result<Option<usize>> {
        cells.clear();
        let (mut written, mut ended, mut first) = (0, 0, None);
        loop {
            if self.used == self.line.len() {
                self.used = 0;
                if !self.lines.next(&mut self.line)? {
                    self.line.clear();
                    return match first {
                        None => Ok(None),
                        Some(line) => Err(self.lines.error(
                            line,
                            "the record that begins here has a quote that is never closed; \
                             double every \" within a quoted cell"
                                .to_owned(),
                        )),
                    };
                }
                // The last record may lack its end.
                if !self.line.ends_with('\n') {
                    self.line.push('\n');
                }
            }
            let rest = &self.line.as_bytes()[self.used..];
            if first.is_none() && rest.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                self.used = self.line.len();
                continue;
            }
            let line = *first.get_or_insert(self.lines.number());
            let (result, read, wrote, ends) =
                self.parser.read_record(rest, &mut self.bytes[written..], &mut self.ends[ended..]);
            self.used += read;
            written += wrote;
            ended += ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.bytes.resize(2 * self.bytes.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => {
                    self.cells(ended, line, cells)?;
                    return Ok(Some(line));
                }
                ReadRecordResult::End => return Ok(None),
            }
            if written > LONGEST_LINE {
                return Err(self.lines.too_long(line));
            }
        }
    }

    fn cells(&self, count: usize, line: usize, cells: &mut Vec<String>) -> Result<()> {
        let mut begin = 0;
        for &end in &self.ends[..count] {
            let cell = str::from_utf8(&self.bytes[begin..end])
                .map_err(|error| self.lines.error(line, format!("not UTF-8: {error}")))?;
            cells.push(cell.to_owned());
            begin = end;
        }
        Ok(())
    }
}
