//! Cost of a packed step as a function of batch size, length, layers and rank.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    contender::Contender,
    protocol::Trained,
    rust_contender::{self, PACKED},
    table::{aligned, mebibytes},
};

/// Steps before anything is measured.
const WARM_UP: u32 = 1;
/// Steps that are measured together, and how often: the least time counts.
const STEPS: u32 = 3;
const TIMES: u32 = 3;

/// Rows of a batch, tokens of a row, layers of the model, rank of the adapters.
type Shape = [u32; 4];

/// Shape that all others differ from in one number.
const USUAL: Shape = [8, 32, 12, 16];

/// Replacements for each number of the usual shape.
const OTHERS: [(&str, &[u32]); 4] = [
    ("rows", &[2, 4, 8, 16, 32]),
    ("tokens a row", &[8, 64, 128, 256, 512]),
    ("layers", &[3, 6, 24]),
    ("rank", &[1, 4, 64, 256]),
];

/// A shape and its cost.
#[derive(Debug, Serialize)]
pub struct Grown {
    /// Difference from the usual shape.
    pub differs: String,
    pub rows: u32,
    pub tokens_per_row: u32,
    pub layers: u32,
    pub rank: u32,
    pub ms_per_step: f64,
    pub tokens_per_second: f64,
    pub peak_memory_bytes: Option<u64>,
}

/// Measures one shape after the other.
pub fn measure(root: &Path, program: &Path, folder: &Path, threads: usize) -> Result<Vec<Grown>> {
    let job = folder.join("shape");
    let mut all = Vec::new();
    for (place, (what, numbers)) in OTHERS.iter().enumerate() {
        for &number in *numbers {
            let differs = format!("{number} {what}");
            say!("measuring {differs}");
            let shape = with(place, number);
            rust_contender::write_shape(root, program, &job, shape)?;
            let command = rust_contender::contender(root, program, PACKED, &job, threads);
            let log = folder.join("shape.log");
            let one = Contender::start(PACKED, command, &log)?;
            all.push(measure_one(one, differs, shape)?);
        }
    }
    Ok(all)
}

/// The usual shape with another number in one place.
fn with(place: usize, number: u32) -> Shape {
    let mut shape = USUAL;
    shape[place] = number;
    shape
}

fn measure_one(mut one: Contender, differs: String, shape: Shape) -> Result<Grown> {
    one.ask::<Trained>(&format!("train {WARM_UP}"))?;
    let mut chunks = Vec::new();
    for _ in 0..TIMES {
        chunks.push(one.ask::<Trained>(&format!("train {STEPS}"))?);
    }
    let best = chunks.iter().min_by(|one, other| one.seconds.total_cmp(&other.seconds));
    let best = best.context("nothing was measured")?;
    let [rows, tokens_per_row, layers, rank] = shape;
    Ok(Grown {
        differs,
        rows,
        tokens_per_row,
        layers,
        rank,
        ms_per_step: 1e3 * best.seconds / best.steps as f64,
        tokens_per_second: best.tokens as f64 / best.seconds,
        peak_memory_bytes: one.quit()?,
    })
}

/// The costs as a person reads them.
pub fn text(all: &[Grown]) -> String {
    let [rows, tokens, layers, rank] = USUAL;
    let mut lines = vec![["", "ms/step", "tokens/s", "peak MiB"].map(str::to_owned).to_vec()];
    lines.extend(all.iter().map(|one| {
        vec![
            one.differs.clone(),
            format!("{:.0}", one.ms_per_step),
            format!("{:.0}", one.tokens_per_second),
            mebibytes(one.peak_memory_bytes),
        ]
    }));
    format!(
        "{rows} rows of {tokens} tokens, {layers} layers, rank {rank}, but for what a line names\n{}",
        aligned(&lines)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::contender::tests::{FAKE, start};

    #[test]
    fn one_value_differs() {
        assert_eq!(with(2, 3), [8, 32, 3, 16]);
        assert_eq!(OTHERS.len(), USUAL.len());
    }

    #[test]
    fn shortest_time_of_a_shape_counts() {
        let folder = tempfile::tempdir().unwrap();
        let one = start(folder.path(), "packed", FAKE, "0.75").unwrap();
        let grown = measure_one(one, "3 layers".to_owned(), [8, 32, 3, 16]).unwrap();
        assert_eq!((grown.ms_per_step, grown.tokens_per_second), (250.0, 400.0));
        let text = text(&[grown]);
        assert!(text.starts_with("8 rows of 32 tokens, 12 layers, rank 16, but"), "{text}");
        assert!(text.contains("3 layers      250       400         1\n"), "{text}");
    }
}
