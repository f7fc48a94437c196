//! Writing Parquet.

use std::{io, sync::Arc};

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, builder::StringBuilder};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

use super::{
    output::{Added, Plan, Problem, Sink},
    text::each_row,
};
use crate::table::{chunk::Chunk, records::Records};

/// A row group is kept in memory until it ends: after this many rows, or bytes.
const GROUP_ROWS: usize = 64 << 10;
const GROUP_BYTES: usize = 64 << 20;

/// A Parquet file that is being written.
pub(crate) struct ParquetOut {
    /// Until the first chunk tells the columns.
    sink: Option<Sink>,
    writer: Option<ArrowWriter<Sink>>,
}

impl ParquetOut {
    pub fn new(sink: Sink) -> Self {
        Self { sink: Some(sink), writer: None }
    }

    pub fn write(&mut self, chunk: &Chunk, plan: &Plan, added: &[&Added]) -> Result<(), Problem> {
        let (mut fields, mut columns) = match &chunk.records {
            Records::Batch(batch) => {
                (batch.schema().fields().iter().cloned().collect(), batch.columns().to_vec())
            }
            _ => strings(chunk, plan)?,
        };
        for (name, values) in plan.added.iter().zip(added) {
            let (kind, column): (_, ArrayRef) = match values {
                Added::Strings(values) => {
                    (DataType::Utf8, Arc::new(StringArray::from_iter_values(values)))
                }
                Added::Floats(values) => {
                    (DataType::Float64, Arc::new(Float64Array::from(values.clone())))
                }
            };
            fields.push(Arc::new(Field::new(name, kind, true)));
            columns.push(column);
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Problem::Table(format!("its rows do not fit together: {error}")))?;
        let writer = self.open(batch.schema())?;
        writer.write(&batch).map_err(io::Error::other)?;
        if writer.in_progress_size() > GROUP_BYTES {
            writer.flush().map_err(io::Error::other)?;
        }
        Ok(())
    }

    pub fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.open(Arc::new(Schema::empty()))?;
        match self.writer {
            Some(writer) => writer.into_inner().map_err(io::Error::other)?.finish(),
            None => Ok(()),
        }
    }

    /// The writer, begun with these columns if it was not before.
    fn open(&mut self, schema: Arc<Schema>) -> io::Result<&mut ArrowWriter<Sink>> {
        if let Some(sink) = self.sink.take() {
            let settings = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                .set_max_row_group_row_count(Some(GROUP_ROWS))
                .build();
            let writer = ArrowWriter::try_new(sink, schema, Some(settings));
            self.writer = Some(writer.map_err(io::Error::other)?);
        }
        self.writer.as_mut().ok_or_else(|| io::Error::other("the file could not be begun"))
    }
}

/// The columns of a text format, as strings.
fn strings(chunk: &Chunk, plan: &Plan) -> Result<(Vec<FieldRef>, Vec<ArrayRef>), Problem> {
    let mut builders: Vec<StringBuilder> =
        plan.columns.iter().map(|_| StringBuilder::new()).collect();
    each_row(chunk, plan, |_, cells| {
        for (builder, cell) in builders.iter_mut().zip(cells) {
            builder.append_option(cell);
        }
        Ok(())
    })?;
    let field = |name: &String| Arc::new(Field::new(name, DataType::Utf8, true));
    let columns = builders.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef);
    Ok((plan.columns.iter().map(field).collect(), columns.collect()))
}
