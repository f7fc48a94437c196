//! Fine-tunes a model on labeled text and classifies a text: MODEL DATA OUT.

use std::{env, error::Error, path::Path};

use trainer::{Predictor, Run};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, data, out] = &arguments[..] else { return Err("MODEL DATA OUT".into()) };
    let report = Run::new(model, data).epochs(1).out(out).train(&mut ())?;
    let predictor = Predictor::load(Path::new(out).join("adapter"))?;
    let classified = predictor.classify(["win a prize now"])?;
    assert_eq!(report.labels, predictor.labels());
    println!("{} of {:?}", classified.len(), predictor.labels());
    Ok(())
}
