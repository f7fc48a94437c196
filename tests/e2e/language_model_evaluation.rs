//! `evaluate` and `generate` with adapters that were trained on examples: every schema and format, the
//! files of an evaluation, templates, and refused options.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use polars::prelude::{DataFrame, IntoColumn, NamedFrom, ParquetWriter, Series};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{Finished, fixture, read_json, read_jsonl, run};

const ANIMALS: [&str; 5] = ["cat", "dog", "newt", "mole", "owl"];

/// Rows of one schema, and a folder with the adapter that was trained on them.
struct Case {
    folder: TempDir,
    rows: Vec<Value>,
}

/// Row of a schema.
fn row(schema: &str, number: usize) -> Value {
    let animal = ANIMALS[number % ANIMALS.len()];
    let question = format!("{number}. What do {animal}s do?");
    let answer = format!("{animal}s sleep{}", " well".repeat(number % 3));
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    match schema {
        "prompts" => json!({"prompt": question, "completion": format!(" {answer}")}),
        "instructions" => json!({"instruction": question, "input": animal, "output": answer}),
        "messages" => json!({"messages": [
            message("user", "Hello"), message("assistant", "Hi."), message("user", &question),
            message("assistant", &answer),
        ]}),
        _ => json!({"text": format!("{question} {answer}")}),
    }
}

impl Case {
    /// Trains the tiny model on 24 rows, with 8 more as the validation set.
    fn new(schema: &str, options: &str) -> Self {
        let rows: Vec<Value> = (0..32).map(|number| row(schema, number)).collect();
        let case = Self { folder: tempfile::tempdir().unwrap(), rows };
        case.write("train.jsonl", &case.rows[..24]);
        case.write("validation.jsonl", &case.rows[24..]);
        let model = fixture("tiny").display().to_string();
        let mut arguments = vec!["train", "--task", "language-model", "--model", &model];
        let paths = ["train.jsonl", "validation.jsonl", "out"].map(|name| case.shown(name));
        for (option, path) in ["--data", "--validation-data", "--out"].iter().zip(&paths) {
            arguments.extend([*option, path]);
        }
        arguments.extend("--threads 1 --device cpu --batch-size 4 --lr 0.01".split(' '));
        arguments.extend("--steps 40 --eval-every 20 --eval-batches 1".split(' '));
        arguments.extend(options.split_whitespace());
        run("gpt2-lora", arguments).succeeded();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, rows: &[Value]) {
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(self.path(name), lines).unwrap();
    }

    /// Writes the validation set in another format.
    fn convert(&self, format: &str) -> String {
        let (rows, name) = (&self.rows[24..], format!("validation.{format}"));
        let names: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
        let cell = |row: &Value, name: &str| match &row[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match format {
            "jsonl" => (),
            "json" => fs::write(self.path(&name), json!(rows).to_string()).unwrap(),
            "parquet" => {
                let column = |name: &&String| {
                    let cells: Vec<String> = rows.iter().map(|row| cell(row, name)).collect();
                    Series::new(name.as_str().into(), cells).into_column()
                };
                let columns = names.iter().map(column).collect();
                let mut frame = DataFrame::new(rows.len(), columns).unwrap();
                let file = File::create(self.path(&name)).unwrap();
                ParquetWriter::new(file).finish(&mut frame).unwrap();
            }
            _ => {
                let separator = if format == "tsv" { "\t" } else { "," };
                let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
                let line = |cells: Vec<String>| cells.join(separator) + "\n";
                let header = line(names.iter().map(|name| quoted(name)).collect());
                let lines = rows
                    .iter()
                    .map(|row| line(names.iter().map(|name| quoted(&cell(row, name))).collect()));
                fs::write(self.path(&name), header + &lines.collect::<String>()).unwrap();
            }
        }
        self.shown(&name)
    }

    fn with_adapter(&self, command: &str, options: &[&str]) -> Finished {
        let (adapter, model) = (self.shown("out/adapter"), fixture("tiny").display().to_string());
        let fixed = [command, "--adapter", &adapter, "--model", &model, "--device", "cpu"];
        run("gpt2-lora", fixed.into_iter().chain(options.iter().copied()))
    }

    fn evaluate(&self, data: &str, options: &[&str]) -> Value {
        let all: Vec<&str> =
            ["--json", "--data", data].into_iter().chain(options.iter().copied()).collect();
        let printed = self.with_adapter("evaluate", &all).succeeded().stdout();
        serde_json::from_str(&printed).unwrap()
    }

    /// Metadata of the prompts of the adapter.
    fn format(&self) -> Value {
        read_json(&self.path("out/adapter/gpt2_lora.json"))["prompts"].clone()
    }
}

/// The number at a place in an object.
fn number(value: &Value, place: &str) -> f64 {
    value.pointer(place).and_then(Value::as_f64).unwrap_or_else(|| panic!("{place}: {value}"))
}

#[test]
fn every_schema_and_format_has_the_measures_of_training() {
    for (schema, formats) in [
        ("prompts", &["jsonl", "json", "csv", "tsv", "parquet"][..]),
        ("instructions", &["csv", "parquet"]),
        ("messages", &["jsonl", "csv"]),
        ("texts", &["json", "tsv"]),
    ] {
        let case = Case::new(schema, "");
        let report = read_json(&case.path("out/report.json"));
        let after = &report["language_model"]["after"];
        for format in formats {
            let options: &[&str] = if schema == "texts" { &[] } else { &["--max-new-tokens=0"] };
            let found = case.evaluate(&case.convert(format), options);
            assert_eq!(found["examples"], 8, "{found}");
            let main = if schema == "texts" { "all" } else { "completions" };
            let mut compared = vec![
                ("/loss", format!("/{main}/loss")),
                ("/perplexity", format!("/{main}/perplexity")),
                ("/token_accuracy", format!("/{main}/accuracy")),
                ("/tokens", format!("/{main}/tokens")),
            ];
            if schema != "texts" {
                compared.push(("/all_tokens/loss", "/all/loss".to_owned()));
                compared.push(("/all_tokens/tokens", "/all/tokens".to_owned()));
            }
            for (place, expected) in compared {
                let (found, expected) = (number(&found, place), number(after, &expected));
                let is_close = (found - expected).abs() <= 1e-5 * expected;
                assert!(is_close, "{schema} in {format}: {place}: {found} {expected}");
            }
        }
    }
}

#[test]
fn files_of_an_evaluation_have_every_example() {
    let case = Case::new("prompts", "");
    // One completion is what the model generates.
    let prompt = case.rows[30]["prompt"].as_str().unwrap().to_owned();
    let options = ["--prompt", &prompt, "--max-new-tokens=4", "--json"];
    let generated: Value =
        serde_json::from_str(&case.with_adapter("generate", &options).succeeded().stdout())
            .unwrap();
    let mut rows = case.rows[24..].to_vec();
    rows[6] = json!({"prompt": prompt, "completion": generated["completion"]});
    rows[1] = json!({"prompt": "a", "completion": "word ".repeat(40)});
    rows[2]["prompt"] = json!("<script>\"&amp;\"</script>");
    rows.push(json!({"prompt": "a", "completion": ""}));
    case.write("data.jsonl", &rows);
    let (data, out) = (case.shown("data.jsonl"), case.shown("evaluation"));
    let options = ["--data", &data, "--max-new-tokens=4", "--out", &out];
    let finished = case.with_adapter("evaluate", &options).succeeded();
    let printed = format!("report: {}\n", case.path("evaluation/evaluation.html").display());
    assert!(finished.stdout().contains(&printed), "{}", finished.stdout());
    assert!(finished.stderr().contains("skipped 1 of 9 examples"), "{}", finished.stderr());
    let report = read_json(&case.path("evaluation/evaluation.json"));
    let examples = read_jsonl(&case.path("evaluation/examples.jsonl"));
    assert_eq!((examples.len(), &report["skipped"]), (8, &json!(1)));
    let (mut tokens, mut loss) = (0.0, 0.0);
    for (index, example) in examples.iter().enumerate() {
        let place = format!("data.jsonl, line {}", index + 1);
        assert!(example["place"].as_str().unwrap().ends_with(&place), "{example}");
        assert_eq!(example["expected"], rows[index]["completion"]);
        assert_eq!(example["is_match"], index == 6, "{example}");
        tokens += number(example, "/tokens");
        loss += number(example, "/tokens") * number(example, "/loss");
    }
    assert_eq!(examples[6]["generated"], generated["completion"]);
    assert!((loss / tokens / number(&report, "/loss") - 1.0).abs() < 1e-12, "{report}");
    assert_eq!((&report["answers"], &report["exact_match"]), (&json!(8), &json!(0.125)));
    check_page(&case, &report, &examples);
    // A pattern compares a part of what is generated, here its first word.
    let first = generated["completion"].as_str().unwrap().split_whitespace().next().unwrap();
    let row = |completion: &str| json!({"prompt": prompt, "completion": completion});
    case.write("match.jsonl", &[row(first), row("another")]);
    let pattern = ["--max-new-tokens=4", r"--match=^\s*(\S+)"];
    let matched = case.evaluate(&case.shown("match.jsonl"), &pattern);
    assert_eq!((&matched["answers"], &matched["exact_match"]), (&json!(2), &json!(0.5)));
    // Alone an example has the same loss.
    case.write("one.jsonl", &rows[3..4]);
    let one = case.evaluate(&case.shown("one.jsonl"), &["--max-new-tokens=0"]);
    assert!((number(&one, "/loss") / number(&examples[3], "/loss") - 1.0).abs() < 1e-5, "{one}");

    let page = fs::read(case.path("evaluation/evaluation.html")).unwrap();
    let again = case.with_adapter("evaluate", &options).succeeded();
    assert!(again.stderr().contains("earlier evaluation"), "{}", again.stderr());
    assert!(fs::read(case.path("evaluation/evaluation.html")).unwrap() == page);
    fs::write(case.path("evaluation/evaluation.json"), "{}").unwrap();
    case.with_adapter("evaluate", &options).failed(&[
        "evaluation.json",
        "was not written by an evaluation",
        "--out",
    ]);
}

/// Checks that the page of an evaluation has its measures, and its examples by their loss.
fn check_page(case: &Case, report: &Value, examples: &[Value]) {
    let page = fs::read_to_string(case.path("evaluation/evaluation.html")).unwrap();
    let has = |text: &str| assert!(page.contains(text), "{text} is not in {page}");
    for (name, value) in [
        ("adapter", case.shown("out/adapter")),
        ("base model", fixture("tiny").display().to_string()),
        ("data", case.shown("data.jsonl")),
        ("examples", "8".to_owned()),
        ("examples skipped", "1".to_owned()),
        ("generated completions", "at most 4 tokens, greedy".to_owned()),
    ] {
        has(&format!("<dt>{name}</dt><dd dir=\"auto\">{value}</dd>"));
    }
    let percent = |value: &Value, place: &str| format!("{:.2} %", 100.0 * number(value, place));
    has(&format!("<dd>{}</dd>", percent(report, "/exact_match")));
    has(&format!("<td>{:.2}</td>", number(report, "/perplexity")));
    has(&format!("<td>{:.4}</td>", number(report, "/all_tokens/loss")));
    let mut sorted: Vec<&Value> = examples.iter().collect();
    sorted.sort_by(|one, other| number(other, "/loss").total_cmp(&number(one, "/loss")));
    let (_, mut table) = page.split_once("Highest loss first.").unwrap();
    for example in sorted {
        let row = format!(
            "{}</td><td class=\"number\">{}</td><td class=\"number\">{:.4}</td>\
             <td class=\"number\">{}</td><td>{}</td>",
            example["place"].as_str().unwrap(),
            example["tokens"],
            number(example, "/loss"),
            percent(example, "/token_accuracy"),
            if example["is_match"] == true { "yes" } else { "no" }
        );
        let (_, rest) = table.split_once(&row).unwrap_or_else(|| panic!("{row} is not in {table}"));
        table = rest;
    }
    has("<dd dir=\"auto\">&lt;script&gt;&quot;&amp;amp;&quot;&lt;/script&gt;</dd>");
    assert!(!page.contains("<script"));
}

#[test]
fn evaluation_of_a_language_model_replaces_one_of_a_classifier() {
    let case = Case::new("prompts", "");
    let out = case.path("evaluation");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("evaluation.json"), "{\"accuracy\": 1, \"confusion\": []}").unwrap();
    for name in ["evaluation.html", "misclassified.jsonl", "notes.txt"] {
        fs::write(out.join(name), "before").unwrap();
    }
    let (data, shown) = (case.shown("validation.jsonl"), out.display().to_string());
    let options = ["--data", &data, "--max-new-tokens=0", "--out", &shown];
    case.with_adapter("evaluate", &options).succeeded();
    let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["evaluation.html", "evaluation.json", "examples.jsonl", "notes.txt"]);
    let page = fs::read_to_string(out.join("evaluation.html")).unwrap();
    assert!(page.contains("<dt>prompt</dt>") && !page.contains("exact match"), "{page}");
}

#[test]
fn conversations_are_evaluated_and_continued_by_the_template_of_the_adapter() {
    let template = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>\\n' }}\
                    {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.jinja");
    fs::write(&file, template).unwrap();
    let case = Case::new("messages", &format!("--chat-template {}", file.display()));
    let format = case.format();
    assert_eq!(
        (&format["schema"], &format["chat_template"]),
        (&json!("messages"), &json!(template))
    );
    assert!(format.get("template").is_none(), "{format}");

    // A prompt is a message of the user.
    let message = json!([{"role": "user", "content": "Hello"}]);
    case.write(
        "rows.jsonl",
        &[json!({"messages": message}), json!({"messages": message.to_string()})],
    );
    let input = case.shown("rows.jsonl");
    let limit = "--max-new-tokens=6";
    let rows = case.with_adapter("generate", &["--input", &input, "--output=-", limit]).succeeded();
    let rows: Vec<Value> =
        rows.stdout().lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let prompt = |text: &str| {
        let printed = case.with_adapter("generate", &["--prompt", text, "--json", limit]);
        let printed: Value = serde_json::from_str(&printed.succeeded().stdout()).unwrap();
        printed["completion"].clone()
    };
    assert_eq!([&rows[0]["completion"], &rows[1]["completion"]], [&prompt("Hello"); 2]);
    // An answer is printed alone, and a continuation after its prompt.
    let answer = rows[0]["completion"].as_str().unwrap();
    let printed = case.with_adapter("generate", &["--prompt", "Hello", limit]).succeeded();
    assert_eq!(printed.stdout(), format!("{answer}\n"));
    // The rendered text, as a model without a template has it.
    let plain = Case::new("texts", "");
    let metadata = plain.path("out/adapter/gpt2_lora.json");
    let mut without = read_json(&case.path("out/adapter/gpt2_lora.json"));
    without.as_object_mut().unwrap().remove("prompts");
    fs::write(metadata, without.to_string()).unwrap();
    for name in ["adapter_model.safetensors", "adapter_config.json"] {
        let to = plain.path("out/adapter").join(name);
        fs::copy(case.path("out/adapter").join(name), to).unwrap();
    }
    let rendered = "<|user|>Hello<|end|>\n<|assistant|>";
    let printed = plain.with_adapter("generate", &["--prompt", rendered, "--json", limit]);
    let printed: Value = serde_json::from_str(&printed.succeeded().stdout()).unwrap();
    assert_eq!(printed["completion"], rows[0]["completion"]);
    let printed = plain.with_adapter("generate", &["--prompt", rendered, limit]).succeeded();
    assert_eq!(printed.stdout(), format!("{rendered}{answer}\n"));

    // A merged model has the template for transformers.
    let merged = case.shown("merged");
    case.with_adapter("merge", &["--out", &merged]).succeeded();
    assert_eq!(fs::read_to_string(case.path("merged/chat_template.jinja")).unwrap(), template);
    for option in ["--adapter", "--model"] {
        let arguments = ["generate", option, &merged, "--prompt", "Hello", "--device=cpu", limit];
        let printed = run("gpt2-lora", arguments).succeeded().stdout();
        assert_eq!(printed, format!("{answer}\n"), "{option}");
    }

    // Strings are messages too, with a note; the last answer of a conversation is compared.
    case.write("strings.jsonl", &[json!({"prompt": "Hello", "completion": "Hi."})]);
    let out = case.shown("evaluation");
    let data = case.shown("strings.jsonl");
    let options = ["--data", &data, "--out", &out, limit];
    let noted = case.with_adapter("evaluate", &options).succeeded().stderr();
    assert!(noted.contains("trained on data of the schema messages"), "{noted}");
    let strings = read_jsonl(&case.path("evaluation/examples.jsonl")).remove(0);
    assert_eq!(
        (&strings["expected"], &strings["generated"]),
        (&json!("Hi."), &rows[0]["completion"])
    );
    let data = case.shown("validation.jsonl");
    case.with_adapter("evaluate", &["--data", &data, "--out", &out, limit]).succeeded();
    let examples = read_jsonl(&case.path("evaluation/examples.jsonl"));
    for (example, row) in examples.iter().zip(&case.rows[24..]) {
        assert_eq!(example["expected"], row["messages"][3]["content"]);
    }
}

#[test]
fn rows_have_several_columns_for_the_template_of_the_adapter() {
    let case = Case::new("instructions", "");
    case.write("rows.jsonl", &case.rows[..3]);
    let input = case.shown("rows.jsonl");
    let options = ["--input", &input, "--output=-", "--max-new-tokens=3"];
    let printed = case.with_adapter("generate", &options).succeeded().stdout();
    let rows: Vec<Value> = printed.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    for (found, row) in rows.iter().zip(&case.rows) {
        assert_eq!((&found["instruction"], &found["error"]), (&row["instruction"], &Value::Null));
        assert_eq!(found["new_tokens"], 3);
    }
    let template = case.path("prompt.jinja");
    fs::write(&template, "{{ place }}, {{ topic }}:").unwrap();
    let rows: Vec<Value> =
        (0..12).map(|row| json!({"place": "here", "topic": row, "completion": " so"})).collect();
    case.write("columns.jsonl", &rows);
    let data = case.shown("columns.jsonl");
    let model = fixture("tiny").display().to_string();
    let (out, template) = (case.shown("columns"), template.display().to_string());
    let fixed = ["train", "--task=language-model", "--device=cpu", "--steps=1", "--batch-size=4"];
    let paths = ["--model", &model, "--data", &data, "--out", &out, "--prompt-template", &template];
    run("gpt2-lora", fixed.into_iter().chain(paths)).succeeded();
    let adapter = case.shown("columns/adapter");
    let fixed = ["--adapter", &adapter, "--model", &model, "--device=cpu", "--max-new-tokens=2"];
    let all = |command, options: &[&str]| {
        let options: Vec<&str> = fixed.iter().chain(options).copied().collect();
        run("gpt2-lora", [command].into_iter().chain(options))
    };
    let table = all("generate", &["--input", &data, "--output=-"]).succeeded().stdout();
    assert_eq!(table.lines().count(), 12, "{table}");
    all("evaluate", &["--data", &data]).succeeded();
    all("generate", &["--prompt=a"]).failed(&["of the adapter", "undefined"]);
}

#[test]
fn options_of_an_evaluation_have_an_effect_or_are_refused() {
    let case = Case::new("prompts", "");
    let data = case.shown("validation.jsonl");
    let refuse = |options: &[&str], words: &[&str]| {
        let all: Vec<&str> = ["--data", &data].into_iter().chain(options.iter().copied()).collect();
        case.with_adapter("evaluate", &all).failed(words);
    };
    refuse(&["--format=csv", "--max-new-tokens=0"], &["validation.jsonl"]);
    refuse(&["--match=x", "--max-new-tokens=0"], &["--match", "has no effect"]);
    refuse(&["--prompt-column=question"], &["no column \"question\"", "--prompt-column"]);
    refuse(
        &["--text-column=prompt", "--completion-column=completion"],
        &["\"completion\" has no effect"],
    );
    refuse(&["--label-column=x"], &["is a language model", "--label-column"]);
    let rows: Vec<Value> = case.rows[24..]
        .iter()
        .map(|row| json!({"q": row["prompt"], "a": row["completion"]}))
        .collect();
    case.write("named.data", &rows);
    let named = case.shown("named.data");
    let options =
        ["--format=jsonl", "--prompt-column=q", "--completion-column=a", "--max-new-tokens=0"];
    let [named, usual] = [case.evaluate(&named, &options), case.evaluate(&data, &options[3..])];
    assert_eq!(named["loss"], usual["loss"]);
    let text = case.path("text.csv");
    fs::write(&text, "id,words\n1,two words\n").unwrap();
    let text = text.display().to_string();
    let options = ["--data", &text, "--text-column=words"];
    case.with_adapter("evaluate", &options).succeeded();
    let options = [&options[..], &["--match=x"]].concat();
    case.with_adapter("evaluate", &options).failed(&["--match", "has no effect", "no prompts"]);
    for long in [
        json!({"prompt": "a", "completion": "word ".repeat(200)}),
        json!({"prompt": "word ".repeat(200), "completion": "a"}),
    ] {
        case.write("long.jsonl", &[case.rows[0].clone(), long]);
        let long = case.shown("long.jsonl");
        let options = ["--data", &long, "--max-new-tokens=0", "--on-long-text=error"];
        case.with_adapter("evaluate", &options).failed(&["long.jsonl, line 2", "context of 96"]);
        let noted = case.with_adapter("evaluate", &options[..3]).succeeded().stderr();
        assert!(noted.contains("long.jsonl, line 2"), "{noted}");
    }
    let classifier = fixture("runs/fused").display().to_string();
    let arguments = ["evaluate", "--adapter", &classifier, "--data", &data, "--prompt-column=x"];
    run("gpt2-lora", arguments).failed(&["is a classifier", "--prompt-column", "leave it out"]);
}

#[test]
fn model_card_has_template_perplexities_and_programs() {
    for (schema, program, heading) in [
        ("messages", "apply_chat_template", "Conversations have the template"),
        ("instructions", "Template(config[\"prompts\"][\"template\"]", "Prompts have the template"),
        ("texts", "tokenizer(\"Every effort moves you\"", "examples of the schema text"),
    ] {
        let case = Case::new(schema, "");
        let card = fs::read_to_string(case.path("out/adapter/README.md")).unwrap();
        let after = &read_json(&case.path("out/report.json"))["language_model"]["after"]["all"];
        for words in [
            "pipeline_tag: text-generation",
            "library_name: peft",
            "AutoModelForCausalLM",
            "Base model: `tiny`",
            "cargo run -p cli -- generate --adapter path/to/this-directory --model path/to/tiny",
            &format!(" {:.2} |", number(after, "/perplexity")),
            program,
            heading,
        ] {
            assert!(card.contains(words), "{words} is not in {card}");
        }
    }
}
