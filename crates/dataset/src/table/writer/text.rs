//! Writing CSV, TSV and JSON Lines.

use std::io::{self, Write};

use polars::prelude::{Column, CsvWriter, DataFrame, DataType, PolarsResult, SerWriter};

use super::{
    output::{Plan, Problem, Sink},
    spelling::{cells, json_lines, plain},
};
use crate::table::{
    chunk::{Chunk, Records},
    columns::list,
    format::Format,
    json::{Object, late_column, strings, to_frame},
};

/// Text file that is being written.
pub(crate) struct TextOut {
    sink: Sink,
    format: Format,
    /// NaN and infinite values that JSON cannot hold.
    pub not_finite: usize,
}

impl TextOut {
    pub fn new(sink: Sink, format: Format) -> Self {
        Self { sink, format, not_finite: 0 }
    }

    pub fn write(
        &mut self,
        chunk: &Chunk,
        plan: &Plan,
        added: &[Column],
        first: bool,
    ) -> Result<(), Problem> {
        match (&chunk.rows.records, self.format) {
            (Records::Objects(objects), Format::Jsonl) => {
                self.write_objects(objects, plan, added)?
            }
            (Records::Frame(_), Format::Jsonl) => {
                let frame = plain(&frame(chunk, plan, added)?)?;
                self.not_finite += not_finite(&frame)?;
                self.sink.write_all(&json_lines(frame)?)?;
            }
            _ => {
                if first {
                    self.write_cells(&header(plan)?)?;
                }
                self.write_cells(&frame(chunk, plan, added)?)?;
            }
        }
        Ok(self.sink.pass_on()?)
    }

    pub fn finish(self) -> io::Result<()> {
        self.sink.finish()
    }

    fn write_cells(&mut self, frame: &DataFrame) -> Result<(), Problem> {
        let separator = if self.format == Format::Tsv { b'\t' } else { b',' };
        let writer = CsvWriter::new(&mut self.sink).include_header(false);
        Ok(writer.with_separator(separator).n_threads(1).finish(&mut cells(frame)?)?)
    }

    /// Writes objects as they are spelled, with the added keys behind their own.
    fn write_objects(
        &mut self,
        objects: &[Object],
        plan: &Plan,
        added: &[Column],
    ) -> Result<(), Problem> {
        let frame = DataFrame::new(objects.len(), added.to_vec())?;
        self.not_finite += not_finite(&frame)?;
        let lines = json_lines(frame)?;
        let mut lines = lines.split(|byte| *byte == b'\n');
        for (row, object) in objects.iter().enumerate() {
            if let Some((name, _)) = object.0.iter().find(|(name, _)| plan.added.contains(name)) {
                return Err(Problem::Row(row, late_column(name)));
            }
            let mut before = "{";
            for (name, value) in &object.0 {
                self.sink.write_all(before.as_bytes())?;
                before = ",";
                serde_json::to_writer(&mut self.sink, name).map_err(io::Error::from)?;
                write!(self.sink, ":{}", value.get())?;
            }
            // Without added columns there is no line.
            match lines.next().and_then(|line| line.strip_prefix(b"{")) {
                Some(rest) if !added.is_empty() => {
                    self.sink.write_all(before.as_bytes())?;
                    self.sink.write_all(rest)?;
                    self.sink.write_all(b"\n")?;
                }
                _ => self.sink.write_all(if before == "{" { b"{}\n" } else { b"}\n" })?,
            }
        }
        Ok(())
    }
}

/// Returns a chunk as a data frame with the added columns.
pub(crate) fn frame(chunk: &Chunk, plan: &Plan, added: &[Column]) -> Result<DataFrame, Problem> {
    let frame = match &chunk.rows.records {
        Records::Objects(objects) => {
            to_frame(objects, &plan.distinct).map_err(|(row, reason)| Problem::Row(row, reason))?
        }
        Records::Frame(frame) if *chunk.names == *plan.columns => frame.clone(),
        // The columns of another file may be in another order.
        Records::Frame(frame) if same_names(&chunk.names, plan) => frame.select(&plan.columns)?,
        Records::Frame(_) => {
            return Err(Problem::Table(format!(
                "its columns are {}, but {} has the columns {}",
                list(&chunk.names),
                plan.source.display(),
                list(&plan.columns)
            )));
        }
    };
    Ok(frame.hstack(added)?)
}

/// Returns whether a chunk has the columns of the plan, in any order. If two have the same name,
/// the order matters.
fn same_names(names: &[String], plan: &Plan) -> bool {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    plan.distinct == plan.columns && sorted(names) == sorted(&plan.columns)
}

/// Returns the names of the columns as a row.
fn header(plan: &Plan) -> PolarsResult<DataFrame> {
    let names = plan.columns.iter().chain(&plan.added).enumerate();
    let cell = |(place, name): (usize, &String)| strings(&place.to_string(), &[Some(name)]);
    DataFrame::new(1, names.map(cell).collect())
}

/// Counts the NaN and infinite values of the columns of numbers.
fn not_finite(frame: &DataFrame) -> PolarsResult<usize> {
    let mut count = 0;
    for column in frame.columns().iter().filter(|column| column.dtype().is_float()) {
        let numbers = column.cast(&DataType::Float64)?;
        count += numbers.f64()?.iter().flatten().filter(|number| !number.is_finite()).count();
    }
    Ok(count)
}
