//! Lists the tensors of a weight file.

use std::{error::Error, path::PathBuf};

use tensor_files::TensorFiles;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).map(PathBuf::from).ok_or("give a weight file")?;
    let files = TensorFiles::open(&path)?;
    let bytes: usize =
        files.names().filter_map(|name| files.get(name)).map(|tensor| tensor.bytes.len()).sum();
    println!("{} tensors, {bytes} bytes", files.names().count());
    Ok(())
}
