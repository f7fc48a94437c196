//! Writing TSV, CSV and JSON Lines.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{self, Write},
};

use csv::{Terminator, WriterBuilder};

use super::output::{Added, Plan, Problem, Sink};
use crate::table::{
    chunk::Chunk,
    columns::list,
    format::Format,
    records::{Object, Records, cell},
};

/// Cells of a row; `None` is a `null`.
pub(crate) type Row<'a> = Vec<Option<Cow<'a, str>>>;

/// A text file that is being written.
pub(crate) struct TextOut {
    sink: Sink,
    format: Format,
}

impl TextOut {
    pub fn new(sink: Sink, format: Format) -> Self {
        Self { sink, format }
    }

    pub fn write(
        &mut self,
        chunk: &Chunk,
        plan: &Plan,
        added: &[&Added],
        first: bool,
    ) -> Result<(), Problem> {
        if self.format == Format::Jsonl {
            self.write_objects(chunk, plan, added)?;
        } else {
            self.write_cells(chunk, plan, added, first)?;
        }
        Ok(self.sink.pass_on()?)
    }

    pub fn finish(self) -> io::Result<()> {
        self.sink.finish()
    }

    fn write_objects(
        &mut self,
        chunk: &Chunk,
        plan: &Plan,
        added: &[&Added],
    ) -> Result<(), Problem> {
        let objects = chunk.records.objects().map_err(Problem::Table)?;
        for (row, object) in objects.iter().enumerate() {
            if let Some((name, _)) = object.0.iter().find(|(name, _)| plan.added.contains(name)) {
                return Err(Problem::Row(row, late(name)));
            }
            let mut out = &mut self.sink;
            let mut before = "{";
            for (name, value) in &object.0 {
                out.write_all(before.as_bytes())?;
                before = ",";
                json(&mut out, name)?;
                write!(out, ":{}", value.get())?;
            }
            for (name, values) in plan.added.iter().zip(added) {
                out.write_all(before.as_bytes())?;
                before = ",";
                json(&mut out, name)?;
                out.write_all(b":")?;
                match values {
                    Added::Strings(values) => json(&mut out, &values[row])?,
                    Added::Floats(values) => json(&mut out, &values[row])?,
                }
            }
            out.write_all(if before == "{" { b"{}\n" } else { b"}\n" })?;
        }
        Ok(())
    }

    fn write_cells(
        &mut self,
        chunk: &Chunk,
        plan: &Plan,
        added: &[&Added],
        first: bool,
    ) -> Result<(), Problem> {
        let names = plan.columns.iter().chain(&plan.added);
        let mut out = Lines::new(&mut self.sink, self.format, names.clone());
        if first {
            out.write(names.map(|name| Cow::Borrowed(name.as_str())).collect())
                .map_err(|problem| problem.of_header())?;
        }
        let write = |row: usize, cells: Row<'_>, out: &mut Lines<'_>| -> Result<(), Problem> {
            let mut cells: Vec<Cow<'_, str>> =
                cells.into_iter().map(Option::unwrap_or_default).collect();
            for values in added {
                cells.push(match values {
                    Added::Strings(values) => Cow::Borrowed(values[row].as_str()),
                    // The fewest digits that bring the number back.
                    Added::Floats(values) => Cow::Owned(format!("{:?}", values[row])),
                });
            }
            out.write(cells).map_err(|problem| problem.of_row(row))
        };
        each_row(chunk, plan, |row, cells| write(row, cells, &mut out))?;
        Ok(out.finish()?)
    }
}

/// The cells of each row of a chunk, in the order of the plan.
pub(crate) fn each_row<'a>(
    chunk: &'a Chunk,
    plan: &Plan,
    mut each: impl FnMut(usize, Row<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    if let Records::Cells { names, rows } = &chunk.records {
        if **names != *plan.columns {
            return Err(Problem::Table(format!(
                "its columns are {}, and those written so far {}",
                list(names),
                list(&plan.columns)
            )));
        }
        let cells = |row: &'a Vec<String>| -> Row<'a> {
            row.iter().map(|cell| Some(Cow::Borrowed(cell.as_str()))).collect()
        };
        return rows.iter().enumerate().try_for_each(|(row, values)| each(row, cells(values)));
    }
    let objects = chunk.records.objects().map_err(Problem::Table)?;
    for (row, object) in objects.iter().enumerate() {
        each(row, in_order(object, plan).map_err(|reason| Problem::Row(row, reason))?)?;
    }
    Ok(())
}

/// The values of an object in the order of the columns.
fn in_order<'a>(object: &'a Object, plan: &Plan) -> Result<Row<'a>, String> {
    let mut values: HashMap<&str, _> =
        object.0.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let cells = plan
        .columns
        .iter()
        .map(|name| match values.remove(name.as_str()) {
            Some(value) => cell(value).map_err(|error| format!("{name:?} is no text: {error}")),
            None => Ok(None),
        })
        .collect::<Result<_, _>>()?;
    match values.keys().min() {
        Some(name) => Err(late(name)),
        None => Ok(cells),
    }
}

fn late(name: &str) -> String {
    format!(
        "it has the column {name:?}, which the first rows have not, and the columns are written by \
         now; give every record the same columns, or rename this one"
    )
}

fn json(out: &mut impl Write, value: &(impl serde::Serialize + ?Sized)) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// Lines of cells.
enum Lines<'a> {
    Csv(Box<csv::Writer<&'a mut Sink>>),
    Tsv(&'a mut Sink, Vec<String>),
}

/// Why a line cannot be written, whichever it is.
enum LineProblem {
    Io(io::Error),
    Cell(String),
}

impl LineProblem {
    fn of_row(self, row: usize) -> Problem {
        match self {
            Self::Io(error) => Problem::Io(error),
            Self::Cell(reason) => Problem::Row(row, reason),
        }
    }

    fn of_header(self) -> Problem {
        match self {
            Self::Io(error) => Problem::Io(error),
            Self::Cell(reason) => Problem::Table(format!("in the header, {reason}")),
        }
    }
}

impl<'a> Lines<'a> {
    fn new<'n>(
        sink: &'a mut Sink,
        format: Format,
        names: impl Iterator<Item = &'n String>,
    ) -> Self {
        if format == Format::Csv {
            let mut writer = WriterBuilder::new();
            writer.terminator(Terminator::Any(b'\n'));
            return Self::Csv(Box::new(writer.from_writer(sink)));
        }
        Self::Tsv(sink, names.cloned().collect())
    }

    fn write(&mut self, cells: Vec<Cow<'_, str>>) -> Result<(), LineProblem> {
        match self {
            Self::Csv(writer) => writer
                .write_record(cells.iter().map(|cell| cell.as_bytes()))
                .map_err(|error| LineProblem::Io(error.into())),
            Self::Tsv(sink, names) => {
                for (name, cell) in names.iter().zip(&cells) {
                    if cell.contains(['\t', '\n', '\r']) {
                        return Err(LineProblem::Cell(format!(
                            "{name:?} has a tab or a line break, which a TSV cell cannot hold; \
                             write CSV, JSON Lines or Parquet"
                        )));
                    }
                }
                let line = cells.join("\t");
                if line.is_empty() {
                    return Err(LineProblem::Cell(
                        "an empty cell alone is no line of a TSV file; write CSV, JSON Lines or \
                         Parquet"
                            .to_owned(),
                    ));
                }
                writeln!(sink, "{line}").map_err(LineProblem::Io)
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Csv(mut writer) => writer.flush(),
            Self::Tsv(..) => Ok(()),
        }
    }
}
