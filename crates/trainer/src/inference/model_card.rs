//! Model card of an adapter: `README.md` with the front matter of the Hugging Face hub.

use std::{fmt::Write, path::Path};

use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    inference::AdapterMetadata,
    reports::Report,
    task::kind::TaskKind,
};

/// Writes the card of a run's adapter into its folder.
pub(crate) fn write_card(folder: &Path, metadata: &AdapterMetadata, report: &Report) -> Result<()> {
    let card = card(metadata, report).map_err(|error| Error::serialize("model card", &error))?;
    Ok(storage::write_atomic(&folder.join("README.md"), card.as_bytes())?)
}

fn card(metadata: &AdapterMetadata, report: &Report) -> Result<String, std::fmt::Error> {
    let is_classifier = metadata.task == TaskKind::Classify;
    let (task, tag, metrics) = match is_classifier {
        true => ("text classification", "text-classification", "accuracy\n- f1"),
        false => ("language modeling", "text-generation", "perplexity"),
    };
    let hub = metadata.published_base();
    let mut text = "---\n".to_owned();
    if let Some(base) = &hub {
        writeln!(text, "base_model: {base}")?;
    }
    writeln!(text, "library_name: peft\npipeline_tag: {tag}\ntags:\n- lora\n- gpt2")?;
    if let Some(base) = &hub {
        writeln!(text, "- base_model:adapter:{base}")?;
    }
    writeln!(text, "metrics:\n- {metrics}\n---\n")?;
    let base = &metadata.base_model;
    writeln!(text, "# LoRA adapter for {task} with GPT-2\n")?;
    let seed = metadata.base_seed.map(|seed| format!(", randomly initialized with seed {seed}"));
    let seed = seed.unwrap_or_default();
    writeln!(text, "Base model: `{base}`{seed}, digest of its weights `{}`.", report.base_digest)?;
    if let Some(lora) = &metadata.lora {
        let settings = serde_json::to_string(lora).unwrap_or_default();
        writeln!(text, "Adapter: `{settings}`.")?;
    }
    writeln!(text, "{} parameters were trained.\n", report.trainable_parameters)?;
    results(&mut text, report)?;
    if is_classifier {
        let labels = metadata.labels.iter().enumerate();
        let labels: Map<String, Value> =
            labels.map(|(class, label)| (class.to_string(), label.clone().into())).collect();
        let labels = serde_json::to_string_pretty(&labels).unwrap_or_default();
        writeln!(text, "`id2label`:\n\n```json\n{labels}\n```\n")?;
        writeln!(
            text,
            "Texts are truncated to {} tokens and classified at {}.\n",
            metadata.max_length,
            match metadata.pooling {
                gpt2_model::Pooling::LastToken => "their last token",
                gpt2_model::Pooling::LastPosition =>
                    "the last position of the padded sequence, which `transformers` does not do: \
                     its logits equal these only for texts of that length",
            }
        )?;
    }
    usage(&mut text, metadata)?;
    Ok(text)
}

/// Table of metrics.
fn results(text: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(text, "| Set | Examples | Accuracy |\n|---|---|---|")?;
    for (set, examples, accuracy) in [
        ("training", report.examples.train, Some(report.accuracy.train)),
        ("validation", report.examples.validation, Some(report.accuracy.validation)),
        ("test", report.examples.test, report.accuracy.test),
    ] {
        if let Some(accuracy) = accuracy {
            writeln!(text, "| {set} | {examples} | {:.2} % |", 100.0 * accuracy)?;
        }
    }
    if let Some(test) = &report.test {
        writeln!(text, "\nMacro F1 on the test set: {:.4}.", test.macro_average.f1)?;
    }
    if let Some(model) = &report.language_model {
        writeln!(text, "\nPerplexity on the validation set: {:.2}.", model.validation_perplexity)?;
    }
    writeln!(text)
}

/// Section on using the adapter in PEFT and with this program.
fn usage(text: &mut String, metadata: &AdapterMetadata) -> std::fmt::Result {
    let is_classifier = metadata.task == TaskKind::Classify;
    let mut options = String::new();
    match (metadata.published_base(), metadata.base_seed) {
        (Some(base), _) => python(text, is_classifier, &Value::from(base))?,
        (None, None) => {
            let folder = format!("path/to/{}", metadata.base_model);
            writeln!(
                text,
                "The base model is not on the Hugging Face hub; replace `{folder}` with its directory.\n"
            )?;
            python(text, is_classifier, &Value::from(folder.as_str()))?;
            let folder = shlex::try_quote(&folder).unwrap_or_default();
            options = format!(" --model {folder}");
        }
        (None, Some(_)) => writeln!(
            text,
            "The base model was initialized randomly and is in no file, so that PEFT cannot load \
             it.\n"
        )?,
    }
    let command = match is_classifier {
        true => format!("predict --adapter path/to/this-directory{options} \"a text\""),
        false => format!(
            "train --adapter path/to/this-directory{options} --task language-model --data text.txt"
        ),
    };
    writeln!(
        text,
        "With the program that trained it, in a checkout of its repository:\n\n\
         ```sh\ncargo run -p cli -- {command}\n```"
    )
}

/// Program that uses the adapter in Python. The README has the same.
fn python(text: &mut String, is_classifier: bool, base: &Value) -> std::fmt::Result {
    let program = match is_classifier {
        true => include_str!("model_card/classifier.py"),
        false => include_str!("model_card/language_model.py"),
    };
    let program = program.replace("\"openai-community/gpt2\"  # base model", &base.to_string());
    writeln!(text, "With PEFT, in this directory:\n\n```python\n{program}```\n")
}
