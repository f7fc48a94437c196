//! Shards: row groups of Parquet files that are read on their own.

use std::{fs::File, path::Path};

use dataset::{Chunk, Result, Shard, ShardedFile, TableOptions, TableReader};
use polars::prelude::{DataFrame, NamedFrom, ParquetWriter, Series};

/// Writes rows in row groups of this size.
fn write(path: &Path, texts: &[String], rows_per_group: usize) {
    let column = Series::new("text".into(), texts).into();
    let mut frame = DataFrame::new(texts.len(), vec![column]).unwrap();
    let writer = ParquetWriter::new(File::create(path).unwrap());
    writer.with_row_group_size(Some(rows_per_group)).finish(&mut frame).unwrap();
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|row| format!("text {row}")).collect()
}

fn read(shard: &Shard) -> Result<Vec<Chunk>> {
    let mut reader = TableReader::open_shard(shard, &TableOptions::default(), false)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk(1000)? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

#[test]
fn shards_have_all_rows_in_order_with_their_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    for (rows, rows_per_group, expected) in [(10, 3, 1), (50_000, 20_000, 2), (0, 5, 1)] {
        write(&path, &texts(rows), rows_per_group);
        let file = ShardedFile::open(&path, &TableOptions::default()).unwrap();
        assert_eq!(file.shards().count(), expected, "{:?}", file.row_groups);
        let mut row = 0;
        for chunk in file.shards().flat_map(|shard| read(&shard).unwrap()) {
            assert_eq!(chunk.rows(), row..row + chunk.len());
            let numbers = chunk.rows().map(|row| format!("text {row}"));
            assert!(chunk.texts().iter().cloned().eq(numbers));
            row += chunk.len();
        }
        assert_eq!(row, rows);
    }
}

#[test]
fn errors_name_the_row_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let mut texts = texts(12);
    texts[7] = "a\0b".to_owned();
    write(&path, &texts, 3);
    let file = ShardedFile::open(&path, &TableOptions::default()).unwrap();
    let shard = |first: usize, end: usize| {
        let mut shard = file.shards().next().unwrap();
        shard.row_groups = Some(first..end);
        shard
    };
    let error = read(&shard(1, 3)).unwrap_err().to_string();
    assert!(error.ends_with("a.parquet, row 8: the text has a NUL byte; remove it"), "{error}");
    assert_eq!(read(&shard(3, 4)).unwrap()[0].rows(), 9..12);
    assert!(read(&shard(2, 2)).unwrap().is_empty());

    let error = read(&shard(3, 5)).unwrap_err().to_string();
    let expected = "a.parquet: it has 4 row groups, expected 5; the file was changed";
    assert!(error.contains(expected), "{error}");
    std::fs::write(&path, "text\nhello\n").unwrap();
    let error = read(&shard(0, 1)).unwrap_err().to_string();
    let expected = "a.parquet: its size or time of modification differs; the file was changed";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn other_formats_are_one_shard() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    std::fs::write(&path, "text\nhello\n").unwrap();
    let file = ShardedFile::open(&path, &TableOptions::default()).unwrap();
    assert_eq!(file.row_groups, None);
    let shards: Vec<Shard> = file.shards().collect();
    assert_eq!(read(&shards[0]).unwrap()[0].texts(), ["hello"]);

    let missing = ShardedFile::open(directory.path().join("b.csv"), &TableOptions::default());
    assert!(missing.unwrap_err().to_string().contains("b.csv"));
    let damaged = directory.path().join("c.parquet");
    std::fs::write(&damaged, "PAR1 not").unwrap();
    let error = ShardedFile::open(&damaged, &TableOptions::default()).unwrap_err().to_string();
    assert!(error.contains("c.parquet: it cannot be read as Parquet"), "{error}");
    let error = ShardedFile::open("-", &TableOptions::default()).unwrap_err().to_string();
    assert_eq!(error, "standard input: a pipe cannot be divided into shards, expected a file");
}
