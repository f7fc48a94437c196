//! Model card of an adapter: `README.md` with the front matter of the Hugging Face hub.

use std::{fmt::Write, path::Path};

use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    inference::AdapterMetadata,
    reports::{LanguageModelReport, Report, SplitSizes},
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
    writeln!(
        text,
        "library_name: peft\npipeline_tag: {tag}\ntags:\n- lora\n- gpt2\n- transformers"
    )?;
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
    if !is_classifier {
        data(&mut text, metadata, report)?;
    }
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

/// Data of a language model and the templates of its prompts.
fn data(text: &mut String, metadata: &AdapterMetadata, report: &Report) -> std::fmt::Result {
    let sha256 = &report.data_sha256;
    let kind = match &metadata.prompts {
        Some(format) => format!("examples of the schema {}", format.schema),
        None => "plain text".to_owned(),
    };
    let length = metadata.max_length;
    writeln!(text, "Data: {kind}, at most {length} tokens at a time, SHA-256 `{sha256}`.\n")?;
    let format = metadata.prompts.as_ref();
    for (name, template) in [
        ("Prompts", format.and_then(|it| it.template.as_ref())),
        ("Conversations", format.and_then(|it| it.chat_template.as_ref())),
    ] {
        if let Some(template) = template {
            // More backticks than a template is likely to have.
            writeln!(text, "{name} have the template\n\n`````jinja\n{template}\n`````\n")?;
        }
    }
    Ok(())
}

/// Table of metrics.
fn results(text: &mut String, report: &Report) -> std::fmt::Result {
    if let Some(model) = &report.language_model {
        return perplexities(text, model, report);
    }
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
    writeln!(text)
}

/// Measures of a language model on the validation set, before and after training.
fn perplexities(
    text: &mut String,
    model: &LanguageModelReport,
    report: &Report,
) -> std::fmt::Result {
    let SplitSizes { train, validation, .. } = report.examples;
    writeln!(
        text,
        "Trained on {train} examples ({} tokens) for {:.1} epochs. On the validation set of {validation} \
         examples:\n\n| Tokens | Number | Perplexity before | after | Accuracy before | after \
         |\n|---|---|---|---|---|---|",
        model.train_tokens, model.epochs
    )?;
    let (Some(before), Some(after)) = (model.before, model.after) else {
        return writeln!(
            text,
            "| all | {} | | {:.2} | | |\n",
            model.validation_tokens, model.validation_perplexity
        );
    };
    for (name, before, after) in [
        ("completions", before.completions, after.completions),
        ("all", Some(before.all), Some(after.all)),
    ] {
        if let (Some(before), Some(after)) = (before, after) {
            writeln!(
                text,
                "| {name} | {} | {:.2} | {:.2} | {:.2} % | {:.2} % |",
                after.tokens,
                before.perplexity,
                after.perplexity,
                100.0 * before.accuracy,
                100.0 * after.accuracy
            )?;
        }
    }
    writeln!(text)
}

/// Section on using the adapter in PEFT and with this program.
fn usage(text: &mut String, metadata: &AdapterMetadata) -> std::fmt::Result {
    let mut options = String::new();
    match (metadata.published_base(), metadata.base_seed) {
        (Some(base), _) => python(text, metadata, &Value::from(base))?,
        (None, None) => {
            let folder = format!("path/to/{}", metadata.base_model);
            writeln!(
                text,
                "The base model is not on the Hugging Face hub; replace `{folder}` with its directory.\n"
            )?;
            python(text, metadata, &Value::from(folder.as_str()))?;
            let folder = shlex::try_quote(&folder).unwrap_or_default();
            options = format!(" --model {folder}");
        }
        (None, Some(_)) => writeln!(
            text,
            "The base model was initialized randomly and is in no file, so that PEFT cannot load \
             it.\n"
        )?,
    }
    let adapter = format!("--adapter path/to/this-directory{options}");
    let commands = match metadata.task {
        TaskKind::Classify => vec![format!("predict {adapter} \"a text\"")],
        TaskKind::LanguageModel => vec![
            format!("generate {adapter} --prompt \"a text\""),
            format!("train {adapter} --task language-model --data more-data"),
        ],
    };
    let commands: String =
        commands.iter().map(|command| format!("cargo run -p cli -- {command}\n")).collect();
    writeln!(
        text,
        "With the program that trained it, in a checkout of its repository:\n\n\
         ```sh\n{commands}```"
    )
}

/// Program that uses the adapter in Python. The README has the same.
fn python(text: &mut String, metadata: &AdapterMetadata, base: &Value) -> std::fmt::Result {
    let is_chat = metadata.prompts.as_ref().is_some_and(|it| it.chat_template.is_some());
    let has_template = metadata.prompts.as_ref().is_some_and(|it| it.template.is_some());
    let program = match metadata.task {
        TaskKind::Classify => include_str!("model_card/classifier.py"),
        TaskKind::LanguageModel if is_chat => include_str!("model_card/conversation.py"),
        TaskKind::LanguageModel if has_template => include_str!("model_card/prompt.py"),
        TaskKind::LanguageModel => include_str!("model_card/language_model.py"),
    };
    let mut program = program.replace("\"openai-community/gpt2\"  # base model", &base.to_string());
    if metadata.tokenizer.is_some() {
        program = program.replace(
            "Tokenizer.from_pretrained(\"openai-community/gpt2\")",
            "Tokenizer.from_pretrained(base)",
        );
    }
    writeln!(text, "With PEFT, in this directory:\n\n```python\n{program}```\n")
}
