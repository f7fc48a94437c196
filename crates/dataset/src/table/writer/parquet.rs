//! Writing Parquet.

use std::{
    collections::HashSet,
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use polars::{
    io::parquet::write::BatchedWriter,
    prelude::{
        Column, CompatLevel, DataFrame, KeyValueMetadata, ParquetCompression, ParquetWriter,
        Schema, SchemaExt,
    },
};
use polars_arrow::io::ipc::write::{default_ipc_fields, schema_to_bytes};

use super::{
    output::{Plan, Problem, Sink},
    text::frame,
};
use crate::{
    guard::guarded,
    table::{
        chunk::{Chunk, Metadata, Records},
        columns::list,
        json::Object,
        reader::ARROW_SCHEMA,
    },
};

/// A row group ends after this many rows, or bytes. Until then it is in memory.
const GROUP_ROWS: usize = 64 << 10;
const GROUP_BYTES: usize = 16 << 20;

/// Parquet file that is being written.
pub(crate) struct ParquetOut {
    sink: SharedSink,
    /// `None` until the first chunk determines the columns.
    writer: Option<BatchedWriter<SharedSink>>,
    /// Rows of the row group that is not written yet.
    group: DataFrame,
    /// Note on columns whose type is not kept.
    retyped: Option<String>,
    /// Columns of JSON with values that are not strings, which become strings.
    stringified: HashSet<String>,
}

/// Sink that is committed after polars, which does not give it back, has dropped it.
#[derive(Clone)]
struct SharedSink(Arc<Mutex<Option<Sink>>>);

impl SharedSink {
    fn lock(&self) -> MutexGuard<'_, Option<Sink>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for SharedSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().as_mut().map_or(Ok(0), |sink| sink.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().as_mut().map_or(Ok(()), Write::flush)
    }
}

impl ParquetOut {
    pub fn new(sink: Sink) -> Self {
        let sink = SharedSink(Arc::new(Mutex::new(Some(sink))));
        let (group, stringified) = (DataFrame::empty(), HashSet::new());
        Self { sink, writer: None, group, retyped: None, stringified }
    }

    pub fn write(&mut self, chunk: &Chunk, plan: &Plan, added: &[Column]) -> Result<(), Problem> {
        let frame = frame(chunk, plan, added)?;
        if self.writer.is_none() {
            self.group = frame.clear();
            self.open(&chunk.metadata)?;
            let retyped = &chunk.metadata.retyped;
            self.retyped = (!retyped.is_empty()).then(|| {
                format!(
                    "the Parquet types of the columns {} change: maps become lists of structs, \
                     times count nanoseconds, and bytes and lists have no fixed size",
                    list(retyped)
                )
            });
        }
        if let Records::Objects(objects) = &chunk.rows.records {
            for name in objects.iter().flat_map(Object::names_of_other_types) {
                if !self.stringified.contains(name) {
                    self.stringified.insert(name.to_owned());
                }
            }
        }
        let frame = self.unified(&frame, plan)?;
        self.group.vstack_mut(&frame)?;
        if self.group.height() >= GROUP_ROWS || self.group.estimated_size() >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    /// Returns the columns with the types of the first chunk, if they can hold the values.
    fn unified(&self, frame: &DataFrame, plan: &Plan) -> Result<DataFrame, Problem> {
        let unified = |(column, first): (&Column, &Column)| {
            let types = [first.dtype(), column.dtype()];
            let [to, from] = types;
            let is_whole = to.is_integer() && from.is_integer();
            if from == to {
                return Ok(column.clone());
            }
            let cast = (is_whole || from.is_null()).then(|| column.strict_cast(to).ok()).flatten();
            cast.ok_or_else(|| plan.other_type(column.name(), types))
        };
        let columns = frame.columns().iter().zip(self.group.columns()).map(unified);
        Ok(DataFrame::new(frame.height(), columns.collect::<Result<_, _>>()?)?)
    }

    /// Returns notes on columns whose types change.
    pub fn notes(&self, plan: Option<&Plan>) -> Vec<String> {
        let names = plan.into_iter().flat_map(|plan| &plan.columns);
        let names: Vec<&String> = names.filter(|name| self.stringified.contains(*name)).collect();
        let stringified = (!names.is_empty()).then(|| {
            format!(
                "JSON values that are not strings, such as numbers, became strings in Parquet ({} \
                 columns: {})",
                names.len(),
                list(&names)
            )
        });
        self.retyped.iter().cloned().chain(stringified).collect()
    }

    pub fn finish(mut self) -> Result<(), Problem> {
        if self.writer.is_none() {
            self.open(&Metadata::default())?;
        }
        self.write_group()?;
        if let Some(writer) = self.writer.take() {
            writer.finish()?;
        }
        let sink = self.sink.lock().take();
        Ok(sink.map_or(Ok(()), Sink::finish)?)
    }

    fn open(&mut self, metadata: &Metadata) -> Result<(), Problem> {
        let schema = self.group.schema();
        let mut pairs = metadata.pairs.clone();
        pairs.insert(0, (ARROW_SCHEMA.to_owned(), arrow_schema(schema, &metadata.pairs)?));
        let writer = ParquetWriter::new(self.sink.clone())
            .with_compression(ParquetCompression::Snappy)
            .with_key_value_metadata(Some(KeyValueMetadata::from_static(pairs)))
            .set_parallel(false);
        self.writer = Some(writer.batched(schema)?);
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), Problem> {
        let empty = self.group.clear();
        let mut group = std::mem::replace(&mut self.group, empty);
        // Each chunk of a data frame would become a row group.
        group.rechunk_mut();
        if let Some(writer) = &mut self.writer {
            guarded(|| writer.write_batch(&group))?;
        }
        Ok(())
    }
}

/// Returns the columns and the key-value metadata as an Arrow schema: an encapsulated message of
/// Arrow IPC in base64.
///
/// The schema that polars writes by itself has no metadata. Arrow's Parquet reader takes the
/// metadata of a table from this schema where there is one, and ignores the other pairs of the
/// file: the index of pandas and the features of Hugging Face would be lost.
fn arrow_schema(schema: &Schema, pairs: &[(String, String)]) -> Result<String, Problem> {
    // pyarrow does not convert lists of string views, the newest type, to pandas.
    let schema = schema.to_arrow(CompatLevel::oldest());
    let pair = |(key, value): &(String, String)| (key.as_str().into(), value.as_str().into());
    let metadata = pairs.iter().map(pair).collect();
    let fields = default_ipc_fields(schema.iter_values());
    let message = schema_to_bytes(&schema, &fields, Some(&metadata));
    let length = u32::try_from(message.len())
        .map_err(|_| Problem::Table("the key-value metadata is longer than 4 GiB".to_owned()))?;
    Ok(STANDARD.encode([&[0xff; 4][..], &length.to_le_bytes(), &message].concat()))
}
