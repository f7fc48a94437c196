//! Writes a JSON file atomically and reads it again.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("storage-{}.json", std::process::id()));
    storage::write_json(&path, &["a", "b"])?;
    let text = storage::read_limited_text(&path)?;
    std::fs::remove_file(&path)?;
    println!("{} bytes, {} lines", text.len(), text.lines().count());
    Ok(())
}
