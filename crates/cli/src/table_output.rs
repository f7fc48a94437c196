//! Table of a command that copies its input table with added columns.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use dataset::{Format, TableReader, TableWriter};
use trainer::process::StandardOutput;

/// Names of standard output as a file.
const STANDARD_OUTPUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Writer of the output table, and its file unless it is standard output.
pub struct TableOutput<'a> {
    pub writer: TableWriter,
    pub file: Option<&'a Path>,
}

/// Creates the output table of the table `from`, which was read from `inputs`: the file `output`, or
/// standard output.
pub fn create_output<'a>(
    inputs: &[PathBuf],
    from: &TableReader,
    output: Option<&'a Path>,
    format: Option<Format>,
) -> Result<TableOutput<'a>> {
    let is_stdout = |path: &&Path| STANDARD_OUTPUT.iter().any(|name| path.as_os_str() == *name);
    let file = output.filter(|output| !is_stdout(output));
    let writer = match file {
        Some(output) if inputs.iter().any(|input| same_file(input, output)) => {
            bail!("{} is both --input and --output; give --output another file", output.display())
        }
        Some(output) => {
            // Input without an extension is TSV, which nobody has asked for in an output.
            let named =
                format.or_else(|| output.extension().and_then(|_| Format::by_extension(output)));
            // The writer refuses a device or a directory with a better reason.
            let is_other = output.metadata().is_ok_and(|there| !there.is_file());
            if named.is_none() && !is_other {
                bail!(
                    "{}: unknown file extension, expected csv, tsv, jsonl or parquet, or one of these \
                     before gz or zst; rename it or give --format",
                    output.display()
                );
            }
            TableWriter::create(output, named)?
        }
        None => {
            let format = format.unwrap_or(from.format());
            TableWriter::to_writer(StandardOutput, format, "standard output")?
        }
    };
    Ok(TableOutput { writer, file })
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
