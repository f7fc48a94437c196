//! Copies a table, from one format to another if the names say so, with a column
//! `length` added: `cargo run -p dataset --example convert -- reviews.csv out.parquet`

use std::error::Error;

use dataset::{Added, TableOptions, TableReader, TableWriter};

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &paths[..] else {
        return Err("expected two files: the table and its copy".into());
    };
    let mut reader = TableReader::open(from, &TableOptions::default(), false)?;
    let mut writer = TableWriter::create(to, None)?;
    let mut rows = 0;
    while let Some(chunk) = reader.next_chunk(4096)? {
        let length = chunk.texts().iter().map(|text| Some(text.chars().count() as f64)).collect();
        writer.write(&chunk, &[("length".to_owned(), Added::Floats(length))])?;
        rows += chunk.len();
    }
    if rows == 0 {
        writer.write(&reader.no_rows()?, &[("length".to_owned(), Added::Floats(Vec::new()))])?;
    }
    writer.finish()?;
    eprintln!("{rows} rows");
    Ok(())
}
